import numpy as np
import pytest
import torch

from invariances.data.pair_sampler import PairSampler
from invariances.data.random_streams import RandomStreams


def draw(labels, kind, repeats=1):
    index = np.tile(np.arange(len(labels)), repeats)
    sampler = PairSampler(torch.tensor(labels), "class")
    streams = RandomStreams(0, 0, np.arange(len(index)))
    return index, getattr(sampler, kind)(index, streams)


LABELS = [3, 0, 3, 7, 0, 3, 3]


def test_same_is_another_example_of_the_label():
    index, second = draw(LABELS, "same", repeats=50)
    labels = np.array(LABELS)
    alone = labels[index] == 7
    assert (labels[index] == labels[second]).all()
    assert (index[alone] == second[alone]).all() and (index[~alone] != second[~alone]).all()


def test_every_other_member_is_as_likely():
    index, second = draw(LABELS, "same", repeats=3000)
    counts = np.bincount(second[index == 2], minlength=7)
    assert counts[[1, 2, 3, 4]].sum() == 0
    assert np.abs(counts[[0, 5, 6]] - 1000).max() < 4 * np.sqrt(3000 * 2 / 9)


def test_other_has_another_label_and_every_one_is_as_likely():
    index, second = draw(LABELS, "other", repeats=6000)
    labels = np.array(LABELS)
    assert (labels[index] != labels[second]).all()
    counts = np.bincount(second[index == 3], minlength=7)
    assert counts[3] == 0 and np.abs(counts[[0, 1, 2, 4, 5, 6]] - 1000).max() < 4 * np.sqrt(6000 * 5 / 36)


def test_one_example_is_its_own_second():
    assert draw([4], "same")[1].tolist() == [0]


def test_no_example_is_refused():
    with pytest.raises(ValueError, match="pairs by class need at least one example, got none"):
        PairSampler(torch.zeros(0, dtype=torch.int64), "class")


def test_one_label_has_no_others():
    with pytest.raises(ValueError, match="but all 3 examples have class 5"):
        PairSampler(torch.tensor([5, 5, 5]), "class").require_others()


def test_any_takes_every_example_as_likely_whatever_its_label():
    index, second = draw(LABELS, "any", repeats=7000)
    counts = np.bincount(second[index == 3], minlength=7)
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(7000 * 6 / 49)
