"""Linear predictions of attributes, each image by a regression that was fitted to others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from torch import Tensor

from invariances.evaluation.metrics.estimate import Estimate

N_FOLDS = 5
PENALTIES = np.logspace(-1, 6, 15)  # one is chosen by leave-one-out errors, for each attribute


def explained_by(z: Tensor, attributes: Sequence[Tensor], seed: int) -> list[Estimate]:
    """1 − E‖a − â(z)‖² / Var a of each attribute a, (n, d), for ridge regressions â on the other four fifths.

    Images without an attribute count as its mean in the fit, and are left out of the score.

    Args:
        z: representations, (n, …).
        attributes: each (n, d), NaN where undefined.
        seed: of the folds.

    >>> z = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> (found,) = explained_by(z, [z[:, :1]], seed=0)
    >>> found.value > 0.99
    True
    """
    if not attributes or len(z) < 2 * N_FOLDS:
        return [Estimate.mean(torch.full((2,), torch.nan)) for _ in attributes]
    joined = torch.cat(list(attributes), dim=1).double().cpu()
    missing, mean = joined.isnan(), joined.nanmean(dim=0)
    folds = KFold(N_FOLDS, shuffle=True, random_state=seed)
    regression = RidgeCV(PENALTIES, alpha_per_target=True)
    target = torch.where(missing, mean, joined).numpy()
    found = cross_val_predict(regression, principal_coordinates(z), target, cv=folds)
    predicted = torch.from_numpy(found).reshape(joined.shape)
    error = torch.where(missing, torch.nan, (joined - predicted).square())
    total = torch.where(missing, torch.nan, (joined - mean).square())
    sizes = [attribute.shape[1] for attribute in attributes]
    return [
        1 - (Estimate.mean(part.sum(1)) / Estimate.mean(whole.sum(1)))
        for part, whole in zip(error.split(sizes, dim=1), total.split(sizes, dim=1), strict=True)
    ]


def predictions(codes: Tensor, target: Tensor, samples: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Linear predictions of an attribute from codes, each by a regression on the other half of the images.

    Args:
        codes: of images, (n, N, 1, 1).
        target: the attribute, (n, d), NaN where unknown.
        samples: codes of samples of these images, (n, k, N, 1, 1).
        seed: of the halves.

    Returns:
        predictions for codes, (n, d), NaN where the target is; the same without NaN; and for samples, (n, k, d).
    """
    n = len(codes)
    half = torch.randperm(n, generator=torch.Generator().manual_seed(seed)) % 2
    own, drawn = codes.flatten(1).cpu().double(), samples.flatten(2).cpu().double()
    known = ~target.isnan().any(dim=1).cpu()
    predicted = torch.full(target.shape, torch.nan, dtype=torch.float64)
    of_samples = torch.full((*drawn.shape[:2], target.shape[1]), torch.nan, dtype=torch.float64)
    for side in (0, 1):
        fitted, others = known & (half != side), half == side
        if fitted.sum() < 2:
            continue
        mean, std = own[fitted].mean(dim=0), own[fitted].std(dim=0).clamp(min=1e-12)
        regression = RidgeCV(PENALTIES).fit(((own[fitted] - mean) / std).numpy(), target[fitted].double().cpu().numpy())
        weight = torch.from_numpy(np.atleast_2d(regression.coef_)) / std
        offset = torch.from_numpy(np.atleast_1d(regression.intercept_)) - weight @ mean
        predicted[others] = own[others] @ weight.T + offset
        of_samples[others] = drawn[others] @ weight.T + offset
    return torch.where(known[:, None], predicted, torch.nan).to(target), predicted.to(target), of_samples.to(target)


def principal_coordinates(z: Tensor) -> np.ndarray:
    """Standardised z as at most n coordinates of the same distances, (n, min(n, features)), in float64.

    Regressions with a penalty on the squared weights are the same, at the cost of n coordinates.
    """
    rows = z.flatten(1).double().cpu()
    rows = (rows - rows.mean(dim=0)) / rows.std(dim=0).clamp(min=1e-12)
    if rows.shape[1] <= len(rows):
        return rows.numpy()
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    return (vectors * values.clamp(min=0).sqrt()).numpy()
