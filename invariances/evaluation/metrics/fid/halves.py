"""Two random halves of a split: a conditional model gets one, and its samples are compared with the other.

A sample of an exact conditional model is as close to its own condition as the condition says. Compared with the very
images it was conditioned on, it would score the better the more the condition holds, below what two sets of real
images score.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from invariances.data.base import Batch
from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches
from invariances.evaluation.metrics.fid.reference import images_of

LEAST = 4  # images of a split: two in each half


class Half:
    """A loader's images without those of the other half.

    Attributes:
        dataset: the loader's, which reference statistics name.

    Args:
        loader: its images come in the same order in each pass.
        chosen: (n,), whether an image belongs to this half.

    >>> batches = [{"image": torch.arange(4.0).reshape(4, 1, 1, 1)}]
    >>> [batch["image"].flatten().tolist() for batch in Half(batches, torch.tensor([True, False, False, True]))]
    [[0.0, 3.0]]
    """

    def __init__(self, loader: Batches, chosen: Tensor) -> None:
        self.loader, self.chosen = loader, chosen
        self.dataset = getattr(loader, "dataset", loader)

    def __iter__(self) -> Iterator[Batch]:
        start = 0
        for images in map(images_of, self.loader):
            kept = images[self.chosen[start : start + len(images)].to(images.device)]
            start += len(images)
            if len(kept):
                yield {"image": kept}


def halves(loader: Batches, seed: int) -> tuple[Half, Half]:
    """A random half of a loader's images, ⌊n / 2⌋ of them, and the other half; both images of a pair count.

    Raises:
        InvalidInput: fewer than 4 images.

    >>> conditions, others = halves([{"image": torch.arange(5.0).reshape(5, 1, 1, 1)}], seed=0)
    >>> [sum(len(batch["image"]) for batch in half) for half in (conditions, others)]
    [2, 3]
    """
    n = sum(len(images_of(batch)) for batch in loader)
    if n < LEAST:
        raise InvalidInput(f"the split has {n} image(s); expected at least {LEAST}, two for conditions, two to compare")
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: n // 2]] = True
    return Half(loader, chosen), Half(loader, ~chosen)
