"""Linear predictions of attributes, each image by a regression that was fitted to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from invariances.evaluation.metrics.estimate import Estimate

Rows: TypeAlias = NDArray[np.float64]

N_FOLDS = 5
PENALTIES = np.logspace(-1, 6, 15)  # one is chosen by leave-one-out errors, for each attribute
PRIOR = 0.1  # variance of the weights of logistic regression, in the prior


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


def predictions(codes: Tensor, target: Tensor, samples: Tensor, classes: bool, seed: int) -> tuple[Tensor, Tensor]:
    """Predictions of an attribute from codes, each by a regression on the other half of the images.

    It is ridge regression for values, and the probabilities of logistic regression for classes.

    Args:
        codes: of images, (n, N, 1, 1).
        target: the attribute, (n, d), NaN where unknown; for classes a 1 in the column of the class.
        samples: codes of samples of these images, (n, k, N, 1, 1).
        classes: whether the target is classes.
        seed: of the halves.

    Returns:
        predictions for codes, (n, d), and for samples, (n, k, d).
    """
    rows, values = codes.flatten(1).double().cpu().numpy(), target.double().cpu().numpy()
    drawn = samples.flatten(2).double().cpu().numpy()
    half = np.random.default_rng(seed).permutation(len(rows)) % 2
    known = ~np.isnan(values).any(axis=1)
    predicted, of_samples = np.full(values.shape, np.nan), np.full((*drawn.shape[:2], values.shape[1]), np.nan)
    for side in (0, 1):
        fitted, others = known & (half != side), half == side
        if fitted.sum() < 2:
            continue
        regression = (_Classifier if classes else _Regression).fit(rows[fitted], values[fitted])
        predicted[others] = regression(rows[others])
        of_samples[others] = regression(drawn[others].reshape(-1, rows.shape[1])).reshape(of_samples[others].shape)
    return torch.from_numpy(predicted).to(target), torch.from_numpy(of_samples).to(target)


@dataclass(frozen=True)
class _Regression:
    """Ridge regression on standardised rows."""

    model: Pipeline

    @classmethod
    def fit(cls, rows: Rows, values: Rows) -> _Regression:
        return cls(make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(rows, values))

    def __call__(self, rows: Rows) -> Rows:
        return self.model.predict(rows).reshape(len(rows), -1)


@dataclass(frozen=True)
class _Classifier:
    """Logistic regression on standardised rows; a class that it has not seen has probability 0."""

    model: Pipeline
    n_classes: int

    @classmethod
    def fit(cls, rows: Rows, values: Rows) -> _Classifier:
        labels = values.argmax(axis=1)
        if len(np.unique(labels)) < 2:
            return cls(make_pipeline(DummyClassifier()).fit(rows, labels), values.shape[1])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=PRIOR, max_iter=1000))
        return cls(model.fit(rows, labels), values.shape[1])

    def __call__(self, rows: Rows) -> Rows:
        probabilities = np.zeros((len(rows), self.n_classes))
        probabilities[:, self.model.classes_] = self.model.predict_proba(rows)
        return probabilities


def principal_coordinates(z: Tensor) -> Rows:
    """Standardised z as at most n coordinates of the same distances, (n, min(n, features)), in float64.

    Regressions with a penalty on the squared weights are the same, at the cost of n coordinates.
    """
    rows = z.flatten(1).double().cpu()
    rows = (rows - rows.mean(dim=0)) / rows.std(dim=0).clamp(min=1e-12)
    if rows.shape[1] <= len(rows):
        return rows.numpy()
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    return (vectors * values.clamp(min=0).sqrt()).numpy()
