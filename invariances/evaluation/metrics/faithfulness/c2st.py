"""Classifier two-sample test of a conditional model: can its samples be told from the codes of real images?"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.evaluation.metrics.estimate import Estimate

N_FOLDS = 5
MIN_IMAGES = 2 * N_FOLDS
MAX_IMAGES = 1000
MAX_CODE_COMPONENTS, MAX_Z_COMPONENTS = 64, 16


def c2st(
    z: Float[Tensor, "n ..."], codes: Float[Tensor, "n ..."], samples: Float[Tensor, "n ..."], seed: int = 0
) -> Estimate:
    """Accuracy of a classifier that tells pairs (z, z̄) of real images from pairs (z, sample). ½: the flow is exact.

    The classifier is a logistic regression on standardised [c, z, c², c⊗z], c the code or sample; where z or c are
    wide, on their first 16 and 64 principal components. Accuracy is measured by 5-fold cross-validation with both
    rows of an image in one fold, on 1,000 images at most.

    Source: Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests, section 3.

    Args:
        z: representations, at least 10.
        codes: z̄, of the same images.
        samples: one sample of each image.
        seed: of the principal components.

    Raises:
        InvalidInput: fewer than 10 images, of which no fold has two.

    >>> z, noise, other = torch.randn(3, 300, 4, generator=torch.Generator().manual_seed(0))
    >>> c2st(z, z + noise, z + other).value < 0.58, c2st(z, z + noise, z + 0.3 * other).value > 0.7
    (True, True)
    """
    if len(z) < MIN_IMAGES:
        raise InvalidInput(f"got {len(z)} image(s) for a two-sample test; expected at least {MIN_IMAGES}")
    n = min(len(z), MAX_IMAGES)
    condition = np.tile(_components(z[:n], MAX_Z_COMPONENTS, seed), (2, 1))
    rows = _components(torch.cat([codes[:n], samples[:n]]), MAX_CODE_COMPONENTS, seed)
    is_real = np.repeat([True, False], n)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=100))
    predicted = cross_val_predict(
        classifier, _features(rows, condition), is_real, groups=np.tile(np.arange(n), 2), cv=GroupKFold(N_FOLDS)
    )
    return Estimate.mean(torch.from_numpy(predicted == is_real).double().reshape(2, n).mean(dim=0)).cross_validated()


def _components(values: Tensor, n: int, seed: int) -> NDArray[np.float64]:
    """Standardised values, or their first `n` principal components if they have more dimensions: (B, ≤ n)."""
    rows = values.flatten(1).float().cpu().numpy()
    if rows.shape[1] > n:
        rows = PCA(min(n, len(rows)), random_state=seed).fit_transform(rows)
    return StandardScaler().fit_transform(rows.astype(np.float64))


def _features(rows: NDArray[np.float64], condition: NDArray[np.float64]) -> NDArray[np.float64]:
    """[c, z, c², c⊗z] of rows c (B, N) and conditions z (B, D): (B, 2 N + D + N D)."""
    products = (rows[:, :, None] * condition[:, None]).reshape(len(rows), -1)
    return np.concatenate([rows, condition, rows**2, products], axis=1)
