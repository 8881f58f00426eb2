"""The Fréchet distance of two Gaussians, and the mean and covariance of features that come in batches.

Everything is float64 on the CPU: float32 sums lose the spread of features whose mean is far from 0, and the
distance is a small difference of large traces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from invariances.errors import InvalidInput

Array: TypeAlias = Tensor | np.ndarray  # type: ignore[explicit-any]  # numpy spells "of any dtype" as Any
TOLERANCE = 1e-4  # what a covariance may lack in symmetry or positivity, relative to its size


def frechet_distance(mu1: Array, cov1: Array, mu2: Array, cov2: Array) -> float:
    """Squared Fréchet (2-Wasserstein) distance `|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½)` of two Gaussians.

    With Σ₁ = AᵀA, Σ₂ = BᵀB and C = ABᵀ, the eigenvalues of Σ₁Σ₂ other than 0 are those of the symmetric CCᵀ.
    Cholesky decompositions and symmetric eigenvalues replace the slow square root of a general matrix, and
    singular covariances (fewer samples than features) make it faster, not unstable.

    Source: Dowson & Landau 1982; Heusel et al. 2017, eq. 6.

    Args:
        mu1, mu2: means (D,).
        cov1, cov2: covariances (D, D), symmetric and positive semidefinite.

    Returns:
        distance, at least 0.

    Raises:
        InvalidInput: shapes do not fit, a value is complex or not finite, a matrix is no covariance, squares of the
            values overflow.

    Example:
        >>> frechet_distance(np.ones(3), np.diag([1.0, 4.0, 9.0]), np.zeros(3), np.diag([4.0, 1.0, 0.0]))
        14.0
    """
    mean1, mean2 = (_checked(name, mean, 1) for name, mean in {"mu1": mu1, "mu2": mu2}.items())
    c1, c2 = (_checked(name, cov, 2) for name, cov in {"cov1": cov1, "cov2": cov2}.items())
    if not mean1.shape == mean2.shape == c1.shape[:1] == c2.shape[:1]:
        shapes = ", ".join(str(tuple(a.shape)) for a in (mean1, c1, mean2, c2))
        raise InvalidInput(
            f"mu1, cov1, mu2, cov2 have shapes {shapes}; expected (D,), (D, D), (D,), (D, D) with one D"
        )
    return _distance(mean1, _factor(c1), mean2, _factor(c2))


def _checked(name: str, array: Array, n_axes: int) -> Tensor:
    """A mean or a covariance as float64 on the CPU."""
    if not isinstance(array, Tensor):
        array = torch.from_numpy(np.array(array, order="C"))  # torch has no negative strides
    if array.is_complex():
        raise InvalidInput(f"{name} is complex; expected real numbers")
    tensor = array.detach().to("cpu", torch.float64)
    if tensor.ndim != n_axes or (n_axes == 2 and tensor.shape[0] != tensor.shape[1]):
        expected = "(D,)" if n_axes == 1 else "(D, D)"
        raise InvalidInput(f"{name} has shape {tuple(tensor.shape)}; expected {expected}")
    if not tensor.isfinite().all():
        raise InvalidInput(f"{name} has {int((~tensor.isfinite()).sum())} values that are not finite")
    if n_axes == 2 and (tensor - tensor.T).abs().max() > TOLERANCE * tensor.abs().max():
        raise InvalidInput(f"{name} is not symmetric; expected a covariance")
    return tensor


def _factor(cov: Tensor) -> Tensor:
    """Rows F (r, D) with FᵀF = Σ, by Cholesky with pivots; r is the numerical rank.

    It stops at the first pivot that is not positive, so FᵀF differs from a Σ with negative eigenvalues.
    """
    upper, order, rank, _ = dpstrf(cov.numpy())  # its default tolerance is D · ε · the largest variance
    factor = torch.zeros_like(cov[:rank])
    factor[:, torch.from_numpy(order).long() - 1] = torch.from_numpy(upper).triu()[:rank]
    if (factor.T @ factor - cov).abs().max() > TOLERANCE * cov.abs().max():
        raise InvalidInput(f"a covariance of trace {cov.trace():.6g} has negative eigenvalues; expected none")
    return factor


def _distance(mean1: Tensor, factor1: Tensor, mean2: Tensor, factor2: Tensor) -> float:
    small, large = sorted((factor1, factor2), key=len)
    cross = small @ large.T
    product = cross @ cross.T
    squares = (mean1 - mean2).square().sum() + factor1.square().sum() + factor2.square().sum()
    if not (product.isfinite().all() and squares.isfinite()):
        raise InvalidInput("means or covariances are so large that their squares overflow; scale the features down")
    return max(0.0, (squares - 2 * torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()).item())


@dataclass(frozen=True)
class Moments:
    """Number of rows, their mean (D,) and their scatter Σ (x − mean)(x − mean)ᵀ (D, D); `+` joins sets."""

    n: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Moments of the rows (n, D) of a matrix."""
        mean = rows.mean(dim=0)
        return cls(len(rows), mean, (rows - mean).T @ (rows - mean))

    def __add__(self, other: Moments) -> Moments:
        # pairwise update of Chan, Golub & LeVeque 1979: no difference of large sums, whatever the mean
        n, delta = self.n + other.n, other.mean - self.mean
        between = torch.outer(delta, delta * (self.n * other.n / n))
        return Moments(n, self.mean + delta * (other.n / n), self.scatter + other.scatter + between)


class FeatureStatistics:
    """Mean and covariance of feature vectors that come in batches.

    The batches' sizes and order make no difference beyond rounding. Rows are kept until there are D of them, then
    reduced to sums, so memory is bounded by a few D × D matrices. Sets of fewer than D rows are compared by the rows
    themselves, without such a matrix.

    Example:
        >>> statistics = FeatureStatistics()
        >>> for batch in torch.arange(12.0).view(3, 2, 2):
        ...     statistics.update(batch)
        >>> statistics.n, statistics.mean.tolist(), statistics.cov.tolist()
        (6, [5.0, 6.0], [[14.0, 14.0], [14.0, 14.0]])
    """

    def __init__(self) -> None:
        self._summed: Moments | None = None
        self._rows: list[Tensor] = []

    @classmethod
    def from_moments(cls, n: int, mean: Array, cov: Array) -> FeatureStatistics:
        """The statistics of `n` rows with this mean (D,) and covariance (D, D)."""
        statistics = cls()
        scatter = _checked("cov", cov, 2) * (n - 1)
        statistics._summed = Moments(n, _checked("mean", mean, 1), scatter)
        return statistics

    @property
    def n(self) -> int:
        """Number of rows so far."""
        return sum(len(rows) for rows in self._rows) + (self._summed.n if self._summed else 0)

    @property
    def n_features(self) -> int | None:
        """The length D of the rows; None before the first."""
        if self._rows:
            return self._rows[0].shape[1]
        return len(self._summed.mean) if self._summed else None

    @property
    def mean(self) -> Tensor:
        """Mean (D,), float64."""
        return self._moments().mean

    @property
    def cov(self) -> Tensor:
        """Unbiased covariance (D, D), float64.

        Raises:
            InvalidInput: fewer than 2 rows so far.
        """
        moments = self._moments()
        if moments.n < 2:
            raise InvalidInput(f"a covariance needs at least 2 rows, got {moments.n}")
        return moments.scatter / (moments.n - 1)

    def update(self, features: Float[Tensor, "batch features"]) -> None:
        """Add a batch of rows.

        Raises:
            InvalidInput: a value is not finite, or the rows have another length than those before.
        """
        if broken := int((~features.isfinite()).any(dim=1).sum()):
            raise InvalidInput(f"{broken} of {len(features)} feature vectors hold NaN or infinite values")
        if self.n_features not in (None, features.shape[1]):
            raise InvalidInput(f"got {features.shape[1]} features after batches of {self.n_features}")
        self._rows.append(features.detach().to("cpu", torch.float64))
        if sum(len(rows) for rows in self._rows) >= features.shape[1]:
            self._summed, self._rows = self._moments(), []

    def distance(self, other: FeatureStatistics) -> float:
        """`frechet_distance` of the Gaussians with these moments.

        Raises:
            InvalidInput: different numbers of features.
        """
        if self.n_features != other.n_features:
            raise InvalidInput(
                f"statistics of {self.n_features} features cannot be compared with those of {other.n_features}; "
                "expected both of one network"
            )
        return _distance(self.mean, self._factor(), other.mean, other._factor())

    def _moments(self) -> Moments:
        if not self._rows:
            if self._summed is None:
                raise InvalidInput("the statistics are empty; expected at least one feature vector")
            return self._summed
        rows = Moments.of(torch.cat(self._rows))
        return self._summed + rows if self._summed else rows

    def _factor(self) -> Tensor:
        """Rows F with FᵀF = Σ: the centred features where all of them are kept."""
        if self._summed is None and self.n > 1:
            rows = torch.cat(self._rows)
            return (rows - rows.mean(dim=0)) / (len(rows) - 1) ** 0.5
        return _factor(self.cov)
