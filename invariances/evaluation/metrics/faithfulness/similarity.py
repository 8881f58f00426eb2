"""Similarity of generated images to the real one in the representation of the network under study.

Each function takes the real images of a batch and those generated for them, and returns for each real image the mean
over the latter.
"""

import torch
from torch import Tensor
from torch.nn import functional

from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages
from invariances.evaluation.metrics.hue import hue

MIN_CHROMA = 0.02  # of an image with a defined hue
TOP = 5
MOST_RANKED = 1000


def similarities(real: EncodedImages, generated: GeneratedImages, indices: Tensor, all_z: Tensor) -> dict[str, Tensor]:
    """All measures of this module, name -> (B,); those that are not defined for the images are left out.

    Args:
        real: a batch.
        generated: images for it.
        indices: of the batch's images among all of them.
        all_z: representations of all images, (n, …).

    Returns:
        `cosine`, `relative_l2`, `pearson`, `spearman` of the representations; `class_agreement` and
        `class_agreement_top5` for a classifier; `retrieval_rank`, `retrieval_mrr`; `hue_agreement` for RGB images.

    >>> z = torch.eye(3).reshape(3, 3, 1, 1)
    >>> real = EncodedImages(torch.zeros(3, 1, 4, 4), torch.zeros(3, 8, 1, 1), z, torch.eye(3))
    >>> found = similarities(real, real.as_generated(), torch.arange(3), z)
    >>> found["cosine"], found["class_agreement"], found["retrieval_rank"]
    (tensor([1., 1., 1.]), tensor([1., 1., 1.]), tensor([1., 1., 1.]))
    """
    z, others = real.z.flatten(1)[:, None], generated.z.flatten(2)  # (B, 1, D), (B, k, D)
    return {
        "cosine": functional.cosine_similarity(others, z, dim=2).mean(1),
        "relative_l2": ((others - z).norm(dim=2) / z.norm(dim=2)).mean(1),
        "pearson": _pearson(others, z).mean(1),
        "spearman": _spearman(others[:, :1], z).mean(1),
        **_classes(real.logits, generated.logits),
        **_retrieval(others, indices, all_z.flatten(1)),
        **_hues(real.images, generated.hues),
    }


def _pearson(x: Tensor, y: Tensor) -> Tensor:
    """Correlation over the last axis."""
    x, y = (each - each.mean(dim=-1, keepdim=True) for each in (x, y))
    return functional.cosine_similarity(x, y, dim=-1)


def _spearman(x: Tensor, y: Tensor) -> Tensor:
    """Correlation of the ranks over the last axis, of a random subset of many dimensions: sorting is slow."""
    subset = torch.randperm(x.shape[-1], generator=torch.Generator().manual_seed(0))[:MOST_RANKED].to(x.device)
    return _pearson(_ranks(x[..., subset]), _ranks(y[..., subset]))


def _ranks(x: Tensor) -> Tensor:
    """Ranks over the last axis; equal values share the mean of theirs, as zeros after a ReLU do."""
    values, x = x.sort(dim=-1).values, x.contiguous()
    first, end = (torch.searchsorted(values, x, right=right) for right in (False, True))
    return (first + end).to(x) / 2


def _classes(logits: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """Share of the generated images whose most likely class, or one of whose five, is that of the real one."""
    if logits.ndim != 2:  # not the logits of a classifier
        return {}
    expected = logits.argmax(dim=1)[:, None, None]  # (B, 1, 1)
    top = {"class_agreement": 1} | ({"class_agreement_top5": TOP} if logits.shape[1] > TOP else {})
    return {
        name: (generated.topk(k, dim=2).indices == expected).any(dim=2).to(logits).mean(1) for name, k in top.items()
    }


def _retrieval(others: Tensor, indices: Tensor, all_z: Tensor) -> dict[str, Tensor]:
    """Rank of the real image among all of them, by the distance of their z to that of the generated one; and 1 / rank.

    Source: Bordes et al. 2022, High fidelity visualization of what your self-supervised representation knows about.
    """
    centre = all_z.mean(dim=0)  # keeps the rounding of distances small
    distances = torch.cdist((others - centre).flatten(0, 1), all_z - centre).unflatten(0, others.shape[:2])
    to_real = distances.gather(2, indices[:, None, None].expand(-1, others.shape[1], -1))
    rank = 1 + (distances < to_real).sum(dim=2).to(others)
    return {"retrieval_rank": rank.mean(1), "retrieval_mrr": (1 / rank).mean(1)}


def _hues(images: Tensor, hues: Tensor) -> dict[str, Tensor]:
    """Mean cosine of the angle between the hues; NaN where the real image has no hue."""
    if images.shape[1] != 3:
        return {}
    angle, chroma = hue(images)
    return {"hue_agreement": torch.where(chroma > MIN_CHROMA, (hues - angle[:, None]).cos().mean(1), torch.nan)}
