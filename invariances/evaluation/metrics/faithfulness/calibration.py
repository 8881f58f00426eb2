"""Calibration of a conditional flow: do the codes of real images look like one more sample of the flow?

Every measure compares the code z̄ of an image with k samples t⁻¹(v|z) for its representation z.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.metrics.faithfulness.c2st import MIN_IMAGES, c2st
from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages
from invariances.evaluation.metrics.faithfulness.variation import Factors

ROWS = 1000  # of a matrix of distances at a time


def calibration(real: EncodedImages, samples: Float[Tensor, "n k ..."], factors: Factors) -> dict[str, Estimate]:
    """All measures of this module but `rank_chi2`, which has no interval.

    Args:
        real: all images.
        samples: codes that the flow generated for each of them, k ≥ 2.
        factors: codes -> factors by name.

    Returns:
        `spread_skill`, `residual_variance`, `energy_skill` from 3 images on, `c2st` from 10 on; and
        `<factor>_residual`, the residual variance of each factor.

    Example: a flow that is exact, for codes with z = 0 and for factors that are the codes themselves

        >>> noise = torch.randn(1000, 9, 4, 1, 1, generator=torch.Generator().manual_seed(0))
        >>> empty = torch.zeros(1000, 1, 1, 1)
        >>> real = EncodedImages(empty, noise[:, 0], empty, empty)
        >>> found = calibration(real, noise[:, 1:], lambda codes: {"factor_all": codes})
        >>> {name: abs(round(estimate.value, 1)) for name, estimate in found.items()}
        {'spread_skill': 1.0, 'residual_variance': 1.0, 'factor_all_residual': 1.0, 'energy_skill': 0.0, 'c2st': 0.5}
    """
    n, k = samples.shape[:2]
    found = {
        "spread_skill": spread_skill(real.codes, samples),
        "residual_variance": residual_variance(real.codes, samples),
    }
    generated = {name: values.unflatten(0, (n, k)) for name, values in factors(samples.flatten(0, 1)).items()}
    for name, values in factors(real.codes).items():
        found[f"{name}_residual"] = residual_variance(values, generated[name])
    if n > 2:
        found["energy_skill"] = energy_skill(real.codes, samples)
    if n >= MIN_IMAGES:
        found["c2st"] = c2st(real.z, real.codes, samples[:, 0])
    return found


def spread_skill(codes: Float[Tensor, "n ..."], samples: Float[Tensor, "n k ..."]) -> Estimate:
    """√(E[Var_v]·(1 + 1/k) / E‖z̄ − m‖²), m the mean of the k samples; variances are unbiased, per dimension.

    1: the flow is exact; < 1: over-confident, its samples vary less than the codes do around their mean; > 1:
    over-dispersed.

    Source: Fortin, Abaza, Anctil & Turcotte 2014, Why should ensemble spread match the RMSE of the
    ensemble mean?

    >>> noise = torch.randn(2000, 9, 4, generator=torch.Generator().manual_seed(0))
    >>> round(spread_skill(noise[:, 0], noise[:, 1:]).value, 1)
    1.0
    """
    variance, error = _moments(codes, samples)
    return (Estimate.mean(variance * (1 + 1 / samples.shape[1])) / Estimate.mean(error)).sqrt()


def residual_variance(values: Float[Tensor, "n ..."], samples: Float[Tensor, "n k ..."]) -> Estimate:
    """(E‖z̄ − m‖² − E[Var_v]/k) / Var z̄, m the mean of the k samples: what is open if the flow's mean is predicted.

    The second term is the error of m as an estimate of the flow's mean, so that the result depends neither on k nor on
    the spread of the samples, only on where they are. 0: z determines the code; 1: it tells nothing about its mean. It
    is above the flow's own claim E[Var_v] / Var z̄ if the flow is over-confident, and below if it is over-dispersed.

    Args:
        values: codes or factors of real images.
        samples: of the flow, k for each.

    >>> noise = torch.randn(2000, 9, 4, generator=torch.Generator().manual_seed(0))
    >>> z = 3**0.5 * torch.randn(2000, 4, generator=torch.Generator().manual_seed(1))
    >>> round(residual_variance(z + noise[:, 0], z[:, None] + 0.2 * noise[:, 1:]).value, 2)  # collapsed
    0.25
    """
    variance, error = _moments(values, samples)
    return Estimate.mean(error - variance / samples.shape[1]) / Estimate.mean(_deviation(values))


def prediction_error(codes: Float[Tensor, "n ..."], predicted: Float[Tensor, "n ..."]) -> Estimate:
    """E‖z̄ − p‖² / Var z̄ of a prediction p from z, without samples. The variance that z leaves open is this or less.

    >>> noise, z = torch.randn(2, 2000, 4, generator=torch.Generator().manual_seed(0))
    >>> round(prediction_error(z + noise, z).value, 1)
    0.5
    """
    return Estimate.mean((codes - predicted).square().flatten(1).mean(dim=1)) / Estimate.mean(_deviation(codes))


def _deviation(values: Tensor) -> Tensor:
    """Squared deviation of each row from the mean of all, whose mean is the unbiased variance: (n,)."""
    n = len(values)
    return (values - values.mean(dim=0)).square().flatten(1).mean(dim=1) * n / (n - 1)


def _moments(values: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Unbiased variance of the samples of each image, and squared error of their mean; means over dimensions: (n,)."""
    variance, mean = torch.var_mean(samples, dim=1)
    return variance.flatten(1).mean(dim=1), (values - mean).square().flatten(1).mean(dim=1)


def rank_chi2(codes: Float[Tensor, "n ..."], samples: Float[Tensor, "n k ..."], seed: int = 0) -> float:
    """χ² per degree of freedom of the rank histogram, mean over the dimensions of the code. 1: the flow is exact.

    In each dimension the rank of the code among its k samples is one of k + 1 values, all equally frequent if the flow
    is exact; χ² = Σ (observed − n/(k + 1))² / (n/(k + 1)) with k degrees of freedom. Of an inexact flow it grows with
    n. As a mean over dimensions of statistics of expectation 1 it has expectation 1 even where dimensions depend on
    each other, which counts pooled over the dimensions have not. Ties are ordered at random.

    Source: Hamill 2001, Interpretation of rank histograms for verifying ensemble forecasts.

    Args:
        codes, samples: of all images.
        seed: of the order of ties.

    >>> noise = torch.randn(2000, 9, 16, generator=torch.Generator().manual_seed(0))
    >>> 0.7 < rank_chi2(noise[:, 0], noise[:, 1:]) < 1.3, rank_chi2(noise[:, 0], 0.5 * noise[:, 1:]) > 10
    (True, True)
    """
    n, k = samples.shape[:2]
    codes, samples = codes.flatten(1)[:, None], samples.flatten(2)
    below, equal = (samples < codes).sum(dim=1), (samples == codes).sum(dim=1)
    uniform = torch.rand(below.shape, generator=torch.Generator().manual_seed(seed)).to(below.device)
    rank = below + (uniform * (equal + 1)).long()  # (n, N), 0 … k
    counts = torch.stack([(rank == each).sum(dim=0) for each in range(k + 1)]).double()
    expected = n / (k + 1)
    return ((counts - expected).square().sum(dim=0) / expected / k).mean().item()


def energy_skill(codes: Float[Tensor, "n ..."], samples: Float[Tensor, "n k ..."]) -> Estimate:
    """1 − ES(samples) / ES(codes of other images), with the energy score ES = E‖X − z̄‖ − ½ E‖X − X′‖.

    0: the samples tell no more about the code than codes of other images, as of a flow that ignores z; the higher, the
    more. No model exceeds the exact one, whose value depends on how much of the code z determines; negative values are
    worse than ignoring z.

    Source: Gneiting & Raftery 2007, Strictly proper scoring rules, prediction, and estimation, eq. 21 and 22.

    Args:
        codes, samples: of at least 3 images.

    >>> noise = torch.randn(500, 9, 4, generator=torch.Generator().manual_seed(0))
    >>> abs(energy_skill(noise[:, 0], noise[:, 1:]).value) < 0.02  # z holds nothing
    True
    >>> energy_skill(noise[:, 0], noise[:, :1] + 1e-6 * noise[:, 1:]).value > 0.999  # z holds all
    True
    """
    k, codes, samples = samples.shape[1], codes.flatten(1), samples.flatten(2)
    to_code = torch.cdist(samples, codes[:, None]).mean(dim=(1, 2))
    between = torch.cdist(samples, samples).sum(dim=(1, 2)) / (k * (k - 1))
    to_others = torch.cat([torch.cdist(rows, codes).sum(dim=1) for rows in codes.split(ROWS)]) / (len(codes) - 1)
    # Its mean is E‖X − X′‖ / 2, and it varies as the image's influence on that does.
    reference = to_others - to_others.mean() / 2
    return 1 - Estimate.mean(to_code - between / 2) / Estimate.mean(reference)
