"""Retrieval of the real image by the representation of an image generated for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invariances.evaluation.metrics.faithfulness.encoded import GeneratedImages

ROUNDING = 4e-6  # of squared distances from matrix products in float32, relative to the squared norms
CLOSE_AT_A_TIME = 1000


@dataclass(frozen=True)
class Gallery:
    """Representations of all real images, among which one is retrieved.

    Attributes:
        z: (n, D), with mean 0, which keeps the rounding of distances small.
        mean: (D,), that was subtracted.
        norm: root mean square norm of the z that were given.
        group: (n,) integers, the same for images with equal z.
    """

    z: Tensor
    mean: Tensor
    norm: float
    group: Tensor

    @classmethod
    def of(cls, z: Tensor) -> Gallery:
        """The gallery of representations (n, …)."""
        z = z.flatten(1)
        mean = z.mean(dim=0)
        norm = z.double().square().sum(dim=1).mean().sqrt().item()
        return cls(z - mean, mean, norm, z.unique(dim=0, return_inverse=True)[1])


@dataclass(frozen=True)
class Retrieval:
    """Ranks of the real images of a batch.

    Attributes:
        numbers: `retrieval_rank` and `retrieval_mrr`, means over the generated images, (B,) each.
        influence: the same names -> (2, n), what each image of the gallery adds to `numbers` by being there: sum and
            sum of squares over the batch.
    """

    numbers: dict[str, Tensor]
    influence: dict[str, Tensor]


def retrieval(generated: GeneratedImages, indices: Tensor, gallery: Gallery) -> Retrieval:
    """Rank of the real image among all of them, by the distance of their z to that of the generated one; and 1 / rank.

    Images at the same distance share their ranks: the rank is the mean of theirs, and 1 / rank the mean of 1 / theirs,
    so that a constant z has rank (n + 1)/2.

    Source: Bordes et al. 2022, High fidelity visualization of what your self-supervised representation knows about.

    Args:
        generated: images for a batch.
        indices: of the batch's images in the gallery.
        gallery: n images.

    >>> z = torch.zeros(3, 1, 1, 1)
    >>> found = retrieval(GeneratedImages(*[z[:, None]] * 4), torch.arange(3), Gallery.of(z)).numbers
    >>> found["retrieval_rank"].tolist(), round(found["retrieval_mrr"][0].item(), 2)
    ([2.0, 2.0, 2.0], 0.61)
    """
    nearer, tied = _compared(generated.z.flatten(2) - gallery.mean, indices, gallery)
    n_nearer, n_tied = nearer.sum(dim=2), tied.sum(dim=2)  # (B, k)
    inverse = 1 / torch.arange(1, len(gallery.z) + 1, dtype=torch.float64, device=nearer.device)
    harmonic = torch.cat([inverse.new_zeros(1), inverse.cumsum(dim=0)])
    reciprocal = _reciprocal(n_nearer, n_tied, harmonic)
    by_nearer = reciprocal - _reciprocal((n_nearer - 1).clamp(min=0), n_tied, harmonic)
    by_tied = reciprocal - _reciprocal(n_nearer, (n_tied - 1).clamp(min=0), harmonic)
    added = {
        "retrieval_rank": nearer + tied / 2,
        "retrieval_mrr": by_nearer[..., None] * nearer + by_tied[..., None] * tied,
    }
    return Retrieval(
        {"retrieval_rank": (1 + n_nearer + n_tied / 2).mean(dim=1), "retrieval_mrr": reciprocal.mean(dim=1)},
        {name: _moments(each.mean(dim=1)) for name, each in added.items()},
    )


def _moments(added: Tensor) -> Tensor:
    """Sum and sum of squares over the first axis, (B, n) -> (2, n)."""
    return torch.stack([added, added.square()]).double().sum(dim=1)


def _compared(others: Tensor, indices: Tensor, gallery: Gallery) -> tuple[Tensor, Tensor]:
    """Whether each image of the gallery is nearer to z (B, k, D) than the real one, or at the same distance: (B, k, n).

    Images with the z of the real one are at its distance whatever the rounding.
    """
    equal = (gallery.group[indices][:, None] == gallery.group)[:, None]  # (B, 1, n)
    itself = (indices[:, None] == torch.arange(len(gallery.z), device=indices.device))[:, None]
    difference = _differences(others, indices, gallery, ~equal)
    return (difference < 0) & ~equal, ((difference == 0) | equal) & ~itself


def _differences(others: Tensor, indices: Tensor, gallery: Gallery, needed: Tensor) -> Tensor:
    """Squared distance to each image of the gallery minus that to the real one, (B, k, n).

    Distances from matrix products are rounded by as much as close images differ; those are computed once more.

    Args:
        others: z of the generated images, (B, k, D), centred as those of the gallery.
        indices: of the real ones, (B,).
        gallery: n images.
        needed: what has to be exact, (B, 1, n).
    """
    to_real = (others - gallery.z[indices][:, None]).square().sum(dim=2)  # (B, k)
    distances = torch.cdist(others.flatten(0, 1), gallery.z).unflatten(0, others.shape[:2])
    differences = distances.square() - to_real[..., None]
    scale = others.square().sum(dim=2, keepdim=True) + gallery.z.square().sum(dim=1).max()
    close = ((differences.abs() <= ROUNDING * scale) & needed).nonzero()
    for row, sample, image in (part.unbind(dim=1) for part in close.split(CLOSE_AT_A_TIME)):
        exact = (others[row, sample] - gallery.z[image]).square().sum(dim=1)
        differences[row, sample, image] = exact - to_real[row, sample]
    return differences


def _reciprocal(n_nearer: Tensor, n_tied: Tensor, harmonic: Tensor) -> Tensor:
    """Mean of 1 / rank over the ranks n_nearer + 1 … n_nearer + n_tied + 1; `harmonic` are the sums 1 + 1/2 + … + 1/i.

    >>> _reciprocal(torch.tensor(1), torch.tensor(1), torch.tensor([0, 1, 3 / 2, 11 / 6]))  # (1/2 + 1/3) / 2
    tensor(0.4167)
    """
    return (harmonic[n_nearer + n_tied + 1] - harmonic[n_nearer]) / (n_tied + 1)
