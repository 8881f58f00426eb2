import numpy as np
import pytest

from invariances.data.random_streams import RandomStreams, mix


def streams(seed=0, epoch=0, index=range(1000)):
    return RandomStreams(seed, epoch, np.array(index, dtype=np.int64))


def test_mix_is_lowbias32():
    def reference(x):
        x = (x ^ (x >> 16)) * 0x7FEB352D & 0xFFFFFFFF
        x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
        return x ^ (x >> 16)

    words = np.array([0, 1, 2, 0x80000000, 0xFFFFFFFF, 123456789], dtype=np.uint32)
    assert mix(words).tolist() == [reference(int(word)) for word in words]


def test_mix_leaves_its_input():
    words = np.arange(5, dtype=np.uint32)
    mix(words)
    assert words.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["bits", "uniform", "noise"])
def test_an_example_has_the_same_numbers_alone_and_in_any_batch(kind):
    whole = getattr(streams(index=range(20)), kind)("s", 7)
    assert (getattr(streams(index=[13]), kind)("s", 7) == whole[13]).all()
    assert (getattr(streams(index=[19, 2, 2]), kind)("s", 7) == whole[[19, 2, 2]]).all()


def test_more_numbers_begin_with_the_fewer():
    assert (streams().uniform("s", 9)[:, :4] == streams().uniform("s", 4)).all()


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"seed": -1}, {"index": range(1, 1001)}])
def test_seed_epoch_and_index_each_give_unrelated_numbers(other):
    correlation = np.corrcoef(streams().uniform("s", 8).ravel(), streams(**other).uniform("s", 8).ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(8000)


def test_streams_are_unrelated():
    a, b = streams().uniform("a", 8), streams().uniform("b", 8)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(8000)


@pytest.mark.parametrize("kind", ["uniform", "noise"])
def test_numbers_are_uniform(kind):
    numbers = getattr(streams(index=range(4000)), kind)("s", 50)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, bins=64, range=(0, 1))[0]
    expected = numbers.size / 64
    chi_squared = ((counts - expected) ** 2 / expected).sum()  # 63 degrees of freedom: 63 ± 11
    assert 25 < chi_squared < 110


def test_neighbours_are_uncorrelated_along_words_and_examples():
    numbers = streams(index=range(4000)).noise("s", 50)
    along_words = np.corrcoef(numbers[:, 1:].ravel(), numbers[:, :-1].ravel())[0, 1]
    along_examples = np.corrcoef(numbers[1:].ravel(), numbers[:-1].ravel())[0, 1]
    assert max(abs(along_words), abs(along_examples)) < 4 / np.sqrt(196_000)


def test_no_two_examples_share_a_word_more_often_than_chance():
    words = streams(index=range(2000)).bits("s", 50)
    assert words.size - len(np.unique(words)) < 10  # 10⁵ of 2³² words: 1.2 repeats expected


def test_below_reaches_every_value_equally():
    values = streams(index=range(6000)).below("s", 3)
    assert np.abs(np.bincount(values, minlength=3) - 2000).max() < 4 * np.sqrt(6000 * 2 / 9)


def test_below_takes_one_bound_for_each_example():
    bounds = np.arange(1000)
    values = streams().below("s", bounds)
    assert values[0] == 0 and (values[1:] < bounds[1:]).all() and (values >= 0).all()
