"""Similarity of generated images to the real one in the representation of the network under study.

Each function takes the real images of a batch and those generated for them, and returns for each real image the mean
over the latter.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages
from invariances.evaluation.metrics.hue import defined_hue

TOP = 5
MOST_RANKED = 1000


def similarities(real: EncodedImages, generated: GeneratedImages, norm: float) -> dict[str, Tensor]:
    """All measures of this module, name -> (B,); those that are not defined for the images are left out.

    Args:
        real: a batch.
        generated: images for it.
        norm: root mean square norm of the representations of all images, in which `relative_l2` is measured.

    Returns:
        `cosine`, `relative_l2`, and for more than one dimension `pearson`, `spearman` of the representations;
        `class_agreement` and `class_agreement_top5` for a classifier; `hue_agreement` for RGB images.

    >>> real = EncodedImages(torch.zeros(3, 1, 4, 4), torch.zeros(3, 8, 1, 1), torch.eye(3), torch.eye(3))
    >>> found = similarities(real, real.as_generated(), norm=1.0)
    >>> found["cosine"], found["class_agreement"]
    (tensor([1., 1., 1.]), tensor([1., 1., 1.]))
    """
    z, others = real.z.flatten(1)[:, None], generated.z.flatten(2)  # (B, 1, D), (B, k, D)
    found = {"cosine": _cosine(others, z).mean(1)}
    if norm > 0:
        found["relative_l2"] = (others - z).norm(dim=2).mean(1) / norm
    if z.shape[2] > 1:
        found |= {"pearson": _pearson(others, z).mean(1), "spearman": _spearman(others[:, :1], z).mean(1)}
    return found | _classes(real.logits, generated.logits) | _hues(real.images, generated.hues)


def mean_similarities(
    numbers: Mapping[str, Tensor], influence: Mapping[str, Tensor], z: Tensor, others: Mapping[str, Tensor]
) -> dict[str, Estimate]:
    """Means over the images of `similarities` and `retrieval`, with the intervals that fit each of them.

    Args:
        numbers: name -> (n,); names that end in `_random`, `_nearest` and `_negative` are of pairs of images.
        influence: name -> (2, n), what each image adds to a number of the others, see `Retrieval`.
        z: representations of all images, (n, …).
        others: name -> the other image of each pair, (n,), see `neighbours`.
    """
    squares = z.flatten(1).double().square().sum(dim=1)
    norm = Estimate.mean(squares / squares.mean()).sqrt()  # an estimate of 1
    found = {}
    for name, values in numbers.items():
        found[name] = Estimate.mean(values, _pairs(name, influence, others))
        if name.startswith("relative_l2"):
            found[name] /= norm
        if name in influence:
            added, squares = influence[name]
            n_pairs = len(z) * (len(z) - 1)
            found[name] = found[name].with_influence(added, (squares.sum() - added.sum().square() / n_pairs).item())
        if bounds := [each for measure, each in _bounds(len(z)).items() if name.startswith(measure)]:
            found[name] = found[name].bounded(*bounds[0])
    return found


def _bounds(n: int) -> dict[str, tuple[int, int]]:
    """Bounds of the measures that often come close to them, of n images."""
    return {"class_agreement": (0, 1), "retrieval_mrr": (0, 1), "retrieval_rank": (1, n), "hue_agreement": (-1, 1)}


def _pairs(name: str, influence: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Tensor | None:
    """The pairs that a number is of; None for samples.

    Ranks by another image at random depend on each other by the images that they are ranks among, not by that one.
    """
    kind = name.rpartition("_")[2]
    return None if kind == "random" and name in influence else others.get(kind)


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine over the last axis; of two zero vectors, which are equal, it is 1, and 0 of a zero vector and another."""
    both_zero = ((x == 0).all(dim=-1) & (y == 0).all(dim=-1)).to(x)
    return functional.cosine_similarity(x, y, dim=-1) + both_zero


def _pearson(x: Tensor, y: Tensor) -> Tensor:
    """Correlation over the last axis; a constant vector counts as zero, see `_cosine`."""
    return _cosine(_centred(x), _centred(y))


def _centred(x: Tensor) -> Tensor:
    """Deviation from the mean of the last axis; exactly 0 of a constant vector."""
    constant = (x == x[..., :1]).all(dim=-1, keepdim=True)
    return torch.where(constant, 0.0, x - x.mean(dim=-1, keepdim=True))


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
    """Share of the generated images whose most likely class, or one of whose five, is that of the real one.

    Of equal logits the first is the most likely, in real and generated images.
    """
    if logits.ndim != 2:  # not the logits of a classifier
        return {}
    expected = logits.argmax(dim=1)[:, None, None].expand(*generated.shape[:2], 1)  # (B, k, 1)
    of_expected = generated.gather(2, expected)
    earlier = torch.arange(logits.shape[1], device=logits.device) < expected
    rank = ((generated > of_expected) | ((generated == of_expected) & earlier)).sum(dim=2)
    top = {"class_agreement": 1} | ({"class_agreement_top5": TOP} if logits.shape[1] > TOP else {})
    return {name: (rank < k).to(logits).mean(dim=1) for name, k in top.items()}


def _hues(images: Tensor, hues: Tensor) -> dict[str, Tensor]:
    """Mean cosine of the angle between the hues; NaN where the real image or all generated ones have no hue."""
    if images.shape[1] != 3:
        return {}
    return {"hue_agreement": (hues - defined_hue(images)[:, None]).cos().nanmean(dim=1)}
