"""Variation of the samples of one image: in pixels, in codes and their factors, and in hue."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from invariances.evaluation.metrics.estimate import NORMAL_95, Estimate
from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages
from invariances.evaluation.metrics.hue import circular_distance, defined_hue

Factors = Callable[[Tensor], Mapping[str, Tensor]]
N_RESAMPLED = 100
SEPARATED = 2  # times the 95 % quantile of an exact sampler, from which on a distance varies as a normal variable does


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


def shares(within: Mapping[str, Tensor], data: Mapping[str, Tensor], random: Tensor) -> dict[str, Estimate]:
    """Variation of the samples of one image relative to that of the data, from `variation` and `spread` with `random`.

    `diversity`, `pairwise_distance`, `variance_explained_by_v`, and for each factor `…_explained_by_z`, 1 minus the
    share.
    """
    share = {
        name: Estimate.mean(values) / Estimate.mean(data[name], random if name == "pairs" else None)
        for name, values in within.items()
    }
    return {
        "diversity": share.pop("images"),
        "pairwise_distance": share.pop("pairs"),
        "variance_explained_by_v": share.pop("codes"),
        **{f"{factor}_explained_by_z": 1 - ratio for factor, ratio in share.items()},
    }


def hue_coverage(images: Tensor, hues: Tensor, seed: int = 0) -> dict[str, float]:
    """Distance between the distributions of hues of all samples and of the real images, in radians.

    - `hue_grey_images`, `hue_grey_samples`: share of the real images and of the samples that have no hue.
    - `hue_distance`: see there; 0 for equal distributions. Its interval holds the distance for infinitely many images.
      Near 0 distances of finite sets are too large, so there it is the 95 % quantile of the bootstrap distance of the
      differences, which bounds the error by the triangle inequality, and includes 0 if the hues are the same (Fang &
      Santos 2019, "Inference on directionally differentiable functions"); from 2 × `hue_distance_random_95` on it is
      1.96 standard deviations of the bootstrap.
    - `hue_distance_random`, `hue_distance_random_95`: mean and 95 % quantile of the distance of an exact sampler from
      as many images, see `_exchanged`: a larger distance shows that hues are missing, or too frequent. With 8 samples
      of each image, 10 % of uniform hues that are missing are noticed in 30 % of sets of 100, 75 % of 300 images.

    Images without a hue and samples without one are left out of the distance. The result is empty for images without
    colours; the distance is left out for fewer than 2 images with a hue, and where no sample has one.

    Args:
        images: real, (n, C, H, W) in [-1, 1].
        hues: of their samples in radians, (n, k), NaN of those without one, see `GeneratedImages.hues`.
        seed: of bootstrap and exchange.

    >>> red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(6, 3, 1, 1)
    >>> coverage = hue_coverage(red, torch.full((6, 4), torch.pi / 2))  # samples a quarter of the circle away
    >>> round(coverage["hue_distance"], 3), coverage["hue_distance_random_95"] < 0.7
    (1.571, True)
    """
    if images.shape[1] != 3:
        return {}
    real, hues = defined_hue(images).cpu(), hues.cpu()
    grey = {"images": Estimate.proportion(real.isnan()), "samples": Estimate.proportion(hues.isnan().double().mean(1))}
    found = {key: each for name, share in grey.items() for key, each in share.numbers(f"hue_grey_{name}").items()}
    rows = torch.cat([real[:, None], hues], dim=1)[~real.isnan()]
    if len(rows) < 2 or rows[:, 1:].isnan().all():
        return found
    return found | _hue_distance(rows, torch.Generator().manual_seed(seed))


def _hue_distance(rows: Tensor, generator: torch.Generator) -> dict[str, float]:
    """`hue_distance`, its interval and level of chance, of hues (n, 1 + k): of an image, and of its samples."""
    known = ~rows.isnan()
    measured = _masses(known, torch.zeros(1, len(rows), dtype=torch.long))
    distance = circular_distance(rows[known], measured).item()
    exchanged = circular_distance(rows[known], _masses(known, _exchanged(known, generator)))
    limit = exchanged.quantile(0.95).item()
    resampled = _resampled(known, generator)
    if distance > SEPARATED * limit:
        half_width = NORMAL_95 * circular_distance(rows[known], resampled).std().item()
    else:
        half_width = circular_distance(rows[known], resampled - measured).quantile(0.95).item()
    return {
        "hue_distance": distance,
        "hue_distance_ci": half_width,
        "hue_distance_random": exchanged.mean().item(),
        "hue_distance_random_95": limit,
    }


def _masses(known: Tensor, chosen: Tensor) -> Tensor:
    """Difference of two distributions: of one chosen hue of each image, and of all others of all images.

    Args:
        known: whether image i has its hue j, (n, 1 + k).
        chosen: R choices, (R, n) in 0 … k.

    Returns:
        (R, m), m the number of known hues.
    """
    first = torch.zeros(len(chosen), *known.shape, dtype=torch.bool).scatter(2, chosen[..., None], True)[:, known]
    n, n_others = len(known), known.sum() - len(known)
    return torch.where(first, 1 / n, -1 / n_others.double())


def _exchanged(known: Tensor, generator: torch.Generator) -> Tensor:
    """A random hue of each image in the role of the real one, (N_RESAMPLED, n), the others in that of its samples'.

    Given z, an exact sampler's hues are distributed as the real one, so that each of the 1 + k may be it; whatever z
    holds of the hue, the distances of these choices have the distribution of that of the real hues.
    """
    return known.double().multinomial(N_RESAMPLED, replacement=True, generator=generator).T


def _resampled(known: Tensor, generator: torch.Generator) -> Tensor:
    """`_masses` of the real hues for bootstrap resamples of the images, (N_RESAMPLED, m)."""
    n, k = len(known), known.shape[1] - 1
    drawn = torch.randint(n, (N_RESAMPLED, n), generator=generator)
    count = torch.zeros(N_RESAMPLED, n, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())
    n_samples = (count @ known[:, 1:].sum(dim=1).double()).clamp(min=1)
    of_samples = (-count / n_samples[:, None])[..., None].expand(-1, -1, k)
    return torch.cat([(count / n)[..., None], of_samples], dim=2)[:, known]
