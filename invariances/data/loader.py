"""Batches of a data set in an order that depends on (seed, epoch) alone, and that a restart can pick up mid-epoch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, default_collate


class BatchSampler:
    """Lists of indices, one per batch.

    Training (`shuffle`): a permutation drawn from (seed, epoch), shared out over the ranks; an incomplete last batch is
    left out unless it is the only one. Otherwise: every example once, in order.

    Args:
        n_examples: size of the data set, at least 1.
        batch_size: examples per batch and rank, at least 1.
        seed: of the permutations.
        shuffle: permute and drop the remainder, as training wants it.
    """

    def __init__(self, n_examples: int, batch_size: int, seed: int = 0, shuffle: bool = False) -> None:
        self.n_examples, self.batch_size, self.seed, self.shuffle = n_examples, batch_size, seed, shuffle
        self.epoch = 0
        self.start = 0  # the first batch of the next pass

    def __len__(self) -> int:
        n_examples = len(self._share())
        return max(1, n_examples // self.batch_size) if self.shuffle else -(-n_examples // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        share = self._share()
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.n_examples, generator=generator).tolist()
            share = [order[i] for i in share]
        for batch in range(self.start, len(self)):
            yield share[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _share(self) -> range:
        """Positions of this rank: all ranks get equally many while training, so that none waits for another."""
        if not (self.shuffle and distributed.is_available() and distributed.is_initialized()):
            return range(self.n_examples)
        n_ranks = distributed.get_world_size()
        return range(distributed.get_rank(), self.n_examples - self.n_examples % n_ranks, n_ranks)


class Loader(DataLoader):
    """A `DataLoader` that makes whole batches at once and can be resumed in the middle of an epoch.

    A data set may offer `__getitems__(indices)`, which returns a batched dict of tensors, and `set_epoch(epoch)`, on
    which its random draws depend; without `shuffle` they are those of epoch 0 in every pass. Each pass over the loader
    is one epoch; `state_dict` holds (epoch, batch), and the pass after `load_state_dict` goes on with the batch that
    follows.

    Args:
        dataset: map-style data set of dicts of tensors.
        batch_size: examples per batch.
        seed: of the order of examples.
        shuffle: training order (see `BatchSampler`).
        n_workers: worker processes; 0 makes batches in the main process.

    Raises:
        ValueError: the data set is empty.

    Example:
        >>> loader = Loader([{"x": torch.tensor(i)} for i in range(5)], batch_size=2)
        >>> [batch["x"].tolist() for batch in loader]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, dataset: Any, batch_size: int, seed: int = 0, shuffle: bool = False, n_workers: int = 0
    ) -> None:
        if len(dataset) == 0:
            raise ValueError(f"{type(dataset).__name__} has 0 examples; at least 1 is expected")
        sampler = BatchSampler(len(dataset), batch_size, seed, shuffle)
        super().__init__(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=n_workers)  # type: ignore
        self.epoch = -1  # no pass has begun
        self.batch = 0
        self._resumed = False

    def __iter__(self) -> Iterator[Any]:
        if self._resumed and self.batch < len(self):
            start = self.batch
        else:
            self.epoch, start = self.epoch + 1, 0
        self._resumed, self.batch = False, start
        self.batch_sampler.epoch, self.batch_sampler.start = self.epoch, start  # type: ignore[union-attr]
        if hasattr(self.dataset, "set_epoch"):  # what is measured again and again stays one and the same set
            self.dataset.set_epoch(self.epoch if self.batch_sampler.shuffle else 0)  # type: ignore[union-attr]
        for batch in super().__iter__():
            self.batch += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The batch that was given out last, as (epoch, number of batches given out in it)."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass go on behind the stored batch."""
        self.epoch, self.batch, self._resumed = state["epoch"], state["batch"], True


class First(Dataset):
    """The first `n` examples of a data set, with all its abilities."""

    def __init__(self, dataset: Any, n: int) -> None:
        self.dataset, self.n = dataset, min(n, len(dataset))

    def __len__(self) -> int:
        return self.n

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not there yet while a worker unpickles
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


def collate(batch: Any) -> Any:
    """A batch that the data set made at once stays as it is; single examples are stacked."""
    return batch if isinstance(batch, dict) else default_collate(batch)
