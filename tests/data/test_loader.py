from itertools import chain

import pytest
import torch

from invariances.data.loader import BatchSampler, First, Loader


class Numbers:
    """Items are their index and the epoch they were made in; batches are made at once."""

    def __init__(self, n):
        self.n, self.epoch = n, None

    def __len__(self):
        return self.n

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices):
        return {"index": torch.tensor(indices), "epoch": torch.full((len(indices),), self.epoch)}


def order(loader):
    return [batch["index"].tolist() for batch in loader]


def test_training_order_is_a_function_of_seed_and_epoch():
    first, second = order(loader := Loader(Numbers(10), 5, seed=3, shuffle=True)), order(loader)
    assert first != second
    again = Loader(Numbers(10), 5, seed=3, shuffle=True)
    assert [order(again), order(again)] == [first, second]
    assert order(Loader(Numbers(10), 5, seed=4, shuffle=True)) != first
    assert sorted(chain(*first)) == list(range(10))


@pytest.mark.parametrize(
    ("n", "sizes"), [(26, [25]), (25, [25]), (24, [24]), (7, [7]), (1, [1]), (50, [25, 25]), (74, [25, 25])]
)
def test_training_leaves_out_a_remainder_unless_it_is_all_there_is(n, sizes):
    loader = Loader(Numbers(n), 25, shuffle=True)
    assert [len(batch) for batch in order(loader)] == sizes
    assert len(loader) == len(sizes)


@pytest.mark.parametrize(("n", "sizes"), [(26, [25, 1]), (25, [25]), (1, [1])])
def test_validation_uses_every_example(n, sizes):
    loader = Loader(Numbers(n), 25)
    assert [len(batch) for batch in order(loader)] == sizes
    assert list(chain(*order(loader))) == list(range(n))


def test_validation_is_of_the_same_examples_in_every_pass():
    loader = Loader(Numbers(3), 2)
    assert [[batch["epoch"].tolist() for batch in loader] for _ in range(2)] == [[[0, 0], [0]]] * 2
    training = Loader(Numbers(2), 2, shuffle=True)
    assert [[batch["epoch"].tolist() for batch in training] for _ in range(2)] == [[[0, 0]], [[1, 1]]]


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="Numbers has 0 examples"):
        Loader(Numbers(0), 25)


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_resumes_behind_the_batch_that_came_last(stop, n_workers):
    whole = Loader(Numbers(20), 5, shuffle=True)
    expected = [[(b["index"].tolist(), b["epoch"].tolist()) for b in whole] for _ in range(3)]

    broken = Loader(Numbers(20), 5, shuffle=True, n_workers=n_workers)
    order(broken)  # epoch 0
    batches = iter(broken)  # epoch 1, left after `stop` batches
    for _ in range(stop):
        next(batches)
    resumed = Loader(Numbers(20), 5, shuffle=True, n_workers=n_workers)
    resumed.load_state_dict(broken.state_dict())

    seen = [(b["index"].tolist(), b["epoch"].tolist()) for b in resumed]
    rest = expected[1][stop:] if stop in (1, 3) else expected[1] if stop == 0 else expected[2]
    assert seen == rest


def test_behind_an_epoch_that_is_ended_early_the_next_one_begins():
    expected = [order(whole := Loader(Numbers(20), 5, shuffle=True)), order(whole)]
    for limit, rest in ((2, expected[1]), (3, expected[0][2:]), (9, expected[0][2:])):
        resumed = Loader(Numbers(20), 5, shuffle=True)
        resumed.limit = limit
        resumed.load_state_dict({"epoch": 0, "batch": 2})
        assert order(resumed) == rest


def test_a_pass_that_was_not_begun_changes_nothing():
    loader = Loader(Numbers(10), 5, shuffle=True)
    iter(loader), iter(loader)
    assert order(loader) == order(Loader(Numbers(10), 5, shuffle=True))


def test_ranks_share_an_epoch_without_overlap(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    seen = []
    for rank in range(2):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        seen.append(list(BatchSampler(11, 2, seed=0, shuffle=True)))
    assert [len(batches) for batches in seen] == [2, 2]
    assert len(set(chain(*chain(*seen)))) == 8


def test_first_keeps_the_abilities_of_its_data_set():
    first = First(Numbers(10), 4)
    first.set_epoch(2)
    assert len(first) == 4
    assert first.__getitems__([1, 3])["epoch"].tolist() == [2, 2]
    assert len(First(Numbers(3), 4)) == 3


@pytest.mark.parametrize(("n_ranks", "expected"), [(1, 4), (2, 2), (3, 1), (30, 1)])
def test_each_rank_has_its_share_of_the_batches(n_ranks, expected):
    assert BatchSampler(21, 5, shuffle=True).length(n_ranks) == expected
