"""Batches of a data set, in an order that depends only on (seed, epoch) and can be resumed in mid-epoch."""

import math
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, default_collate

from invariances.errors import SIGNALS, InvalidInput


class BatchSampler:
    """Yields a list of indices for each batch.

    Training (`shuffle`): a permutation that depends on (seed, epoch), divided among the ranks; an incomplete last batch
    is left out unless it is the only one. Otherwise: every example once, in order.

    Args:
        n_examples: size of the data set, at least 1.
        batch_size: examples per batch and rank, at least 1.
        seed: of the permutations.
        shuffle: permute and drop the remainder, as for training.

    Example:
        >>> list(BatchSampler(5, 2))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, n_examples: int, batch_size: int, seed: int = 0, shuffle: bool = False) -> None:
        self.n_examples, self.batch_size, self.seed, self.shuffle = n_examples, batch_size, seed, shuffle
        self.epoch = 0
        self.start = 0  # the first batch of the next pass

    def __len__(self) -> int:
        return self.length(_n_ranks())

    def length(self, n_ranks: int) -> int:
        """Batches of each of so many ranks."""
        if self.shuffle:
            return max(1, self.n_examples // n_ranks // self.batch_size)
        return -(-self.n_examples // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        indices = [order[i] for i in self._positions()]
        for batch in range(self.start, len(self)):
            yield indices[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _order(self) -> Sequence[int]:
        """All indices, in the order of this epoch."""
        if not self.shuffle:
            return range(self.n_examples)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return torch.randperm(self.n_examples, generator=generator).tolist()

    def _positions(self) -> range:
        """Positions of this rank in the order; in training all ranks have equally many, so that none waits."""
        if not self.shuffle or (n_ranks := _n_ranks()) == 1:
            return range(self.n_examples)
        return range(distributed.get_rank(), self.n_examples - self.n_examples % n_ranks, n_ranks)


def _n_ranks() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class Loader(DataLoader[Any]):
    """A `DataLoader` of whole batches that can be resumed in the middle of an epoch.

    A data set may have `__getitems__(indices)`, which returns a batched dict of tensors, and `set_epoch(epoch)`, which
    selects its random numbers; without `shuffle` they are those of epoch 0 in every pass. Each pass over the loader is
    one epoch; `state_dict` holds (epoch, batch), and the pass after `load_state_dict` continues with the next batch.

    Args:
        dataset: map-style data set of dicts of tensors.
        batch_size: examples per batch.
        seed: of the order of examples.
        shuffle: training order (see `BatchSampler`).
        n_workers: number of worker processes; 0 loads in the main process.

    Attributes:
        limit: number of batches after which whoever takes them ends an epoch, where these are not all.

    Raises:
        InvalidInput: the data set is empty.

    Example:
        >>> loader = Loader([{"x": torch.tensor(i)} for i in range(5)], batch_size=2)
        >>> [batch["x"].tolist() for batch in loader]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, dataset: Any, batch_size: int, seed: int = 0, shuffle: bool = False, n_workers: int = 0
    ) -> None:
        if len(dataset) == 0:
            raise InvalidInput(f"{type(dataset).__name__} has 0 examples; expected 1 or more")
        self.batches = BatchSampler(len(dataset), batch_size, seed, shuffle)
        super().__init__(
            dataset,
            batch_sampler=self.batches,
            collate_fn=collate,
            num_workers=n_workers,
            worker_init_fn=_leave_signals_to_main,
        )
        self.epoch = -1  # before the first pass
        self.batch = 0
        self.limit = math.inf
        self._resumed = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator, not torch's iterator
        if self._resumed and self.batch < min(len(self), self.limit):
            start = self.batch
        else:
            self.epoch, start = self.epoch + 1, 0
        self._resumed, self.batch = False, start
        self.batches.epoch, self.batches.start = self.epoch, start
        if hasattr(self.dataset, "set_epoch"):  # a validation set is the same in every pass
            self.dataset.set_epoch(self.epoch if self.batches.shuffle else 0)
        for batch in super().__iter__():
            self.batch += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the number of its batches that were delivered."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next pass continue after the stored batch.

        Raises:
            InvalidInput: not two counts.
        """
        if not all(isinstance(state.get(name), int) and state[name] >= -1 for name in ("epoch", "batch")):
            raise InvalidInput(f"the checkpoint's place in an epoch is {state}; expected numbers epoch and batch")
        self.epoch, self.batch, self._resumed = state["epoch"], state["batch"], True


class First(Dataset):
    """The first `n` examples of a data set, with all its other attributes and methods.

    >>> len(First([{"x": 1}, {"x": 2}], 1))
    1
    """

    def __init__(self, dataset: Any, n: int) -> None:
        self.dataset, self.n = dataset, min(n, len(dataset))

    def __len__(self) -> int:
        return self.n

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not set yet while a worker process unpickles
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


def collate(batch: Any) -> Any:
    """Stack single examples; a batch that the data set made at once is returned unchanged."""
    return batch if isinstance(batch, dict) else default_collate(batch)


def _leave_signals_to_main(worker: int) -> None:
    """Ignore signals that reach a whole process group: the main process needs its workers until it has saved.

    Workers end when the main process does.
    """
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
