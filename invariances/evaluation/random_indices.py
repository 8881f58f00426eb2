"""Random subsets of a data set, and random pairs of its images, that do not depend on the order of the images."""

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader

from invariances.data.base import Batch
from invariances.data.loader import Loader
from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, first_examples


def derangement(n: int, seed: int = 0) -> Int[Tensor, " n"]:
    """For each of n images the index of another one: a random permutation without fixed points.

    It is one cycle through all images in random order (Sattolo 1986), so their order in the data set makes no
    difference, and σ(i), σ(σ(i)), … visits every image once.

    Args:
        n: number of images, at least 2.
        seed: of the order.

    Raises:
        InvalidInput: fewer than 2 images.

    >>> derangement(2)
    tensor([1, 0])
    """
    if n < 2:
        raise InvalidInput(f"got {n} image(s); expected at least 2")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def random_subset(size: int, n: int | None, seed: int = 0) -> Int[Tensor, " n"]:
    """Indices of n of `size` examples, drawn without replacement, in ascending order; all for n ≥ size and for None.

    >>> random_subset(3, 5)
    tensor([0, 1, 2])
    >>> random_subset(1000, 3)
    tensor([ 37,  44, 675])
    """
    if n is None or n >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:n].sort().values


def random_examples(loader: Batches, n: int | None, device: torch.device, seed: int = 0) -> Batch:
    """A random subset of n examples of a loader (all for None) as one batch on a device; pairs count as two.

    Of a `Loader` only these examples are read, with the random numbers of epoch 0, as in every pass over a
    validation set. Of any other iterable all batches are read.

    Args:
        loader: batches of the validation split.
        n: number of examples.
        device: of the batch.
        seed: of the subset.

    Example:
        >>> batches = [{"image": torch.arange(6.0).reshape(6, 1, 1, 1)}]
        >>> random_examples(batches, 2, torch.device("cpu"))["image"].flatten()
        tensor([2., 5.])
    """
    if not isinstance(loader, Loader):
        batch = first_examples(loader, None, device)
        indices = random_subset(len(batch["image"]), n, seed).to(device)
        return {key: values[indices] for key, values in batch.items()}
    images_each = 2 if "example1" in loader.dataset[0] else 1
    indices = random_subset(loader.batches.n_examples, None if n is None else -(-n // images_each), seed)
    return first_examples(_read(loader, indices), n, device)


def _read(loader: Loader, indices: Tensor) -> Batches:
    """Batches of some examples of a loader, in epoch 0, by as many worker processes as it has."""
    if hasattr(loader.dataset, "set_epoch"):
        loader.dataset.set_epoch(0)
    batches = [part.tolist() for part in indices.split(loader.batches.batch_size)]
    return DataLoader(
        loader.dataset, batch_sampler=batches, collate_fn=loader.collate_fn, num_workers=loader.num_workers
    )
