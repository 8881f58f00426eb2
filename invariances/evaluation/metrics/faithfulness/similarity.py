"""How like a real image the ones made for it are, as the network under study sees them: one number for each image.

Each function takes the real images of a batch and those made for them, and gives the mean over the latter.
"""

import torch
from torch import Tensor
from torch.nn import functional

from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages
from invariances.evaluation.metrics.hue import hue

COLOURED = 0.02  # the least chroma of an image whose hue means anything
TOP = 5
MOST_RANKED = 1000


def likeness(real: EncodedImages, made: GeneratedImages, indices: Tensor, all_z: Tensor) -> dict[str, Tensor]:
    """All measures of this page, name -> (B,); those that mean nothing here are left out.

    Args:
        real: a batch.
        made: images made for it.
        indices: of the batch's images among all of them.
        all_z: representations of all images, (n, …).
    """
    z, others = real.z.flatten(1)[:, None], made.z.flatten(2)  # (B, 1, D), (B, k, D)
    return {
        "cosine": functional.cosine_similarity(others, z, dim=2).mean(1),
        "relative_l2": ((others - z).norm(dim=2) / z.norm(dim=2)).mean(1),
        "pearson": _pearson(others, z).mean(1),
        "spearman": _spearman(others[:, :1], z).mean(1),
        **_classes(real.logits, made.logits),
        **_retrieval(others, indices, all_z.flatten(1)),
        **_hues(real.images, made.hues),
    }


def _pearson(x: Tensor, y: Tensor) -> Tensor:
    """Correlation over the last axis."""
    x, y = (each - each.mean(dim=-1, keepdim=True) for each in (x, y))
    return functional.cosine_similarity(x, y, dim=-1)


def _spearman(x: Tensor, y: Tensor) -> Tensor:
    """Correlation of the ranks over the last axis, of some of the indices where there are many: sorting is slow."""
    some = torch.randperm(x.shape[-1], generator=torch.Generator().manual_seed(0))[:MOST_RANKED].to(x.device)
    return _pearson(_ranks(x[..., some]), _ranks(y[..., some]))


def _ranks(x: Tensor) -> Tensor:
    """Ranks over the last axis; equal values share the mean of theirs, as zeros behind a ReLU do."""
    values, x = x.sort(dim=-1).values, x.contiguous()
    first, behind = (torch.searchsorted(values, x, right=right) for right in (False, True))
    return (first + behind).to(x) / 2


def _classes(logits: Tensor, made: Tensor) -> dict[str, Tensor]:
    """Part of the made images whose most likely class, or one of whose five, is that of the real one."""
    if logits.ndim != 2:  # the network's output is no list of classes
        return {}
    own = logits.argmax(dim=1)[:, None, None]  # (B, 1, 1)
    found = {"class_agreement": 1} | ({"class_agreement_top5": TOP} if logits.shape[1] > TOP else {})
    return {
        name: (made.topk(k, dim=2).indices == own).any(dim=2).to(logits).mean(1) for name, k in found.items()
    }


def _retrieval(others: Tensor, indices: Tensor, all_z: Tensor) -> dict[str, Tensor]:
    """Rank of the real image among all of them, by the distance of their z to that of the made one; and 1 / rank.

    Source: Bordes et al. 2022, High fidelity visualization of what your self-supervised representation knows about.
    """
    centre = all_z.mean(dim=0)  # keeps the rounding of distances small
    distances = torch.cdist((others - centre).flatten(0, 1), all_z - centre).unflatten(0, others.shape[:2])
    own = distances.gather(2, indices[:, None, None].expand(-1, others.shape[1], -1))
    rank = 1 + (distances < own).sum(dim=2).to(others)
    return {"retrieval_rank": rank.mean(1), "retrieval_mrr": (1 / rank).mean(1)}


def _hues(images: Tensor, hues: Tensor) -> dict[str, Tensor]:
    """Mean cosine of the angle between the hues; NaN where the real image has no colour."""
    if images.shape[1] != 3:
        return {}
    angle, chroma = hue(images)
    return {"hue_agreement": torch.where(chroma > COLOURED, (hues - angle[:, None]).cos().mean(1), torch.nan)}
