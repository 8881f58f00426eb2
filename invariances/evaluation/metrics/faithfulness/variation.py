"""How much the samples of one image vary: in pixels, in their codes and in factors of these, and in hue."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages
from invariances.evaluation.metrics.faithfulness.estimate import NORMAL_95, Estimate
from invariances.evaluation.metrics.faithfulness.similarity import COLOURED
from invariances.evaluation.metrics.hue import hue, hue_distance

Factors = Callable[[Tensor], Mapping[str, Tensor]]
N_BOOTSTRAP = 100


def variation(made: GeneratedImages, factors: Factors) -> dict[str, Tensor]:
    """How much the k samples of each image vary, name -> (B,).

    - `images`, `codes` and each factor: unbiased variance over the samples, mean over the dimensions.
    - `pairs`: mean distance of two of the samples in pixels.
    """
    k = made.images.shape[1]
    pixels = made.images.flatten(2)
    values = {"images": pixels, "codes": made.codes} | {
        name: values.unflatten(0, (-1, k)) for name, values in factors(made.codes.flatten(0, 1)).items()
    }
    pairs = torch.cdist(pixels, pixels).sum(dim=(1, 2)) / (k * (k - 1))
    return {"pairs": pairs} | {name: each.var(dim=1).flatten(1).mean(1) for name, each in values.items()}


def spread(real: EncodedImages, random: Tensor, factors: Factors) -> dict[str, Tensor]:
    """The same of the data, name -> (n,): squared deviation from the mean, distance to another image at random.

    Args:
        real: all images.
        random: for each image the place of another one.
        factors: of codes.
    """
    n, pixels = len(real.images), real.images.flatten(1)
    values = {"images": pixels, "codes": real.codes, **factors(real.codes)}
    deviations = {name: (each - each.mean(dim=0)).square().flatten(1).mean(1) for name, each in values.items()}
    return {"pairs": (pixels - pixels[random]).norm(dim=1)} | {
        name: each * n / (n - 1) for name, each in deviations.items()
    }


def shares(within: Mapping[str, Tensor], data: Mapping[str, Tensor]) -> dict[str, Estimate]:
    """What the samples of one image have of the variation of the data, from `variation` and `spread`.

    `diversity`, `pairwise_distance`, `variance_explained_by_v`, and for each factor `…_explained_by_z`, the rest.
    """
    share = {name: Estimate.mean(values) / Estimate.mean(data[name]) for name, values in within.items()}
    return {
        "diversity": share.pop("images"),
        "pairwise_distance": share.pop("pairs"),
        "variance_explained_by_v": share.pop("codes"),
        **{f"{factor}_explained_by_z": 1 - part for factor, part in share.items()},
    }


def hue_coverage(images: Tensor, hues: Tensor, seed: int = 0) -> dict[str, float]:
    """Do the colours of all samples together have the distribution of the real ones?

    - `hue_distance`: see there; 0 if they do, with a bootstrap interval over the images.
    - `hue_distance_random`: the same between two halves of the real images, which chance alone leaves.

    Args:
        images: real, (n, C, H, W).
        hues: of their samples, (n, k), see `GeneratedImages.hues`.
        seed: of halves and bootstrap.
    """
    if images.shape[1] != 3:
        return {}
    real, chroma = hue(images)
    real, hues = real[chroma > COLOURED], hues[chroma > COLOURED]
    n = len(real)
    if n < 2:
        return {}
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator).to(real.device)
    draws = torch.randint(n, (N_BOOTSTRAP, n), generator=generator).to(real.device)
    resampled = torch.tensor([hue_distance(real[indices], hues[indices].flatten()) for indices in draws])
    return {
        "hue_distance": hue_distance(real, hues.flatten()),
        "hue_distance_ci": NORMAL_95 * resampled.std().item(),
        "hue_distance_random": hue_distance(real[order[: n // 2]], real[order[n // 2 :]]),
    }
