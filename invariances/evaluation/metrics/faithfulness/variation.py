"""Variation of the samples of one image: in pixels, in codes and their factors, and in hue."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages
from invariances.evaluation.metrics.faithfulness.estimate import NORMAL_95, Estimate
from invariances.evaluation.metrics.faithfulness.similarity import MIN_CHROMA
from invariances.evaluation.metrics.hue import hue, hue_distance

Factors = Callable[[Tensor], Mapping[str, Tensor]]
N_BOOTSTRAP = 100


def variation(samples: GeneratedImages, factors: Factors) -> dict[str, Tensor]:
    """Variation of the k samples of each image, name -> (B,).

    - `images`, `codes` and each factor: unbiased variance over the samples, mean over the dimensions.
    - `pairs`: mean Euclidean distance of two samples in pixels.
    """
    k = samples.images.shape[1]
    pixels = samples.images.flatten(2)
    values = {"images": pixels, "codes": samples.codes} | {
        name: values.unflatten(0, (-1, k)) for name, values in factors(samples.codes.flatten(0, 1)).items()
    }
    pairs = torch.cdist(pixels, pixels).sum(dim=(1, 2)) / (k * (k - 1))
    return {"pairs": pairs} | {name: each.var(dim=1).flatten(1).mean(1) for name, each in values.items()}


def spread(real: EncodedImages, random: Tensor, factors: Factors) -> dict[str, Tensor]:
    """Variation of the data, name -> (n,): squared deviation from the mean, distance to another image at random.

    Args:
        real: all images.
        random: for each image the index of another one, (n,).
        factors: codes -> factors by name.
    """
    n, pixels = len(real.images), real.images.flatten(1)
    values = {"images": pixels, "codes": real.codes, **factors(real.codes)}
    deviations = {name: (each - each.mean(dim=0)).square().flatten(1).mean(1) for name, each in values.items()}
    return {"pairs": (pixels - pixels[random]).norm(dim=1)} | {
        name: each * n / (n - 1) for name, each in deviations.items()
    }


def shares(within: Mapping[str, Tensor], data: Mapping[str, Tensor]) -> dict[str, Estimate]:
    """Variation of the samples of one image relative to that of the data, from `variation` and `spread`.

    `diversity`, `pairwise_distance`, `variance_explained_by_v`, and for each factor `…_explained_by_z`, 1 minus the
    share.
    """
    share = {name: Estimate.mean(values) / Estimate.mean(data[name]) for name, values in within.items()}
    return {
        "diversity": share.pop("images"),
        "pairwise_distance": share.pop("pairs"),
        "variance_explained_by_v": share.pop("codes"),
        **{f"{factor}_explained_by_z": 1 - ratio for factor, ratio in share.items()},
    }


def hue_coverage(images: Tensor, hues: Tensor, seed: int = 0) -> dict[str, float]:
    """Distance between the distributions of hues of all samples and of the real images, in radians.

    - `hue_distance`: see there; 0 for equal distributions; `hue_distance_ci` is its 95 % bootstrap interval over the
      images.
    - `hue_distance_random`: the distance between two halves of the real images, the level of chance.

    Images without a hue are left out; the result is empty for grey images and for fewer than 2 with a hue.

    Args:
        images: real, (n, C, H, W) in [-1, 1].
        hues: of their samples in radians, (n, k), see `GeneratedImages.hues`.
        seed: of halves and bootstrap.

    >>> red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(6, 3, 1, 1)
    >>> coverage = hue_coverage(red, torch.full((6, 4), torch.pi / 2))  # samples a quarter of the circle away
    >>> round(coverage["hue_distance"], 3), coverage["hue_distance_random"]
    (1.571, 0.0)
    """
    if images.shape[1] != 3:
        return {}
    real, chroma = hue(images)
    real, hues = real[chroma > MIN_CHROMA], hues[chroma > MIN_CHROMA]
    n = len(real)
    if n < 2:
        return {}
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator).to(real.device)
    resamples = torch.randint(n, (N_BOOTSTRAP, n), generator=generator).to(real.device)
    resampled = torch.tensor([hue_distance(real[indices], hues[indices].flatten()) for indices in resamples])
    return {
        "hue_distance": hue_distance(real, hues.flatten()),
        "hue_distance_ci": NORMAL_95 * resampled.std().item(),
        "hue_distance_random": hue_distance(real[order[: n // 2]], real[order[n // 2 :]]),
    }
