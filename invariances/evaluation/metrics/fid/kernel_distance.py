"""Kernel distances of two sets of feature vectors: KID and CMMD.

They use all pairs, not random subsets, so they depend on neither order nor seed. Pairs are computed in blocks of rows:
time grows with n², memory with n. All in float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.evaluation.metrics.estimate import NORMAL_95

BLOCK = 1000  # rows at a time
CMMD_WIDTH, CMMD_SCALE = 10, 1000  # σ of the kernel, and the factor of the score (Jayasumana et al. 2024, section 4)

Kernel: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # (n1, D), (n2, D) -> (n1, n2)


def polynomial(x: Float[Tensor, "n1 features"], y: Float[Tensor, "n2 features"]) -> Float[Tensor, "n1 n2"]:
    """The kernel of KID, `k(x, y) = (x·y / D + 1)³`.

    >>> polynomial(torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0]]))
    tensor([[1., 8.]])
    """
    return (x @ y.T / y.shape[1] + 1).pow(3)


def gaussian(x: Float[Tensor, "n1 features"], y: Float[Tensor, "n2 features"]) -> Float[Tensor, "n1 n2"]:
    """The kernel of CMMD, `k(x, y) = exp(−‖x − y‖² / 2σ²)`, σ = 10.

    >>> gaussian(torch.tensor([[0.0]]), torch.tensor([[0.0], [10.0]]))
    tensor([[1.0000, 0.6065]])
    """
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T
    return (-squares / (2 * CMMD_WIDTH**2)).exp()


def kernel_distance(
    features1: Float[Tensor, "n1 features"], features2: Float[Tensor, "n2 features"], kernel: Kernel = polynomial
) -> float:
    """Unbiased squared maximum mean discrepancy, by default with the kernel `(x·y / D + 1)³` (KID).

    Its expectation is 0 for two sets of one distribution, at any number of samples; single values may be
    negative. The usual mean over random subsets estimates the same with more variance.

    Args:
        features1, features2: (n1, D) and (n2, D), at least 2 rows each.
        kernel: see `polynomial` and `gaussian`.

    Raises:
        InvalidInput: a set has fewer than 2 vectors.

    Source: Bińkowski et al. 2018, eq. 4.

    >>> kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]]))
    -13.0
    """
    return kernel_estimate(features1, features2, kernel)[0]


def cmmd(features1: Float[Tensor, "n1 features"], features2: Float[Tensor, "n2 features"]) -> tuple[float, float]:
    """CMMD and half its 95 % confidence interval: 1000 × `kernel_distance` with the kernel `gaussian`.

    The estimate is the unbiased one of the paper; its authors' code includes the pairs of an image with itself, which
    adds 1000 · (1 − mean k) · 2/n.

    Args:
        features1, features2: embeddings of length 1, (n1, D) and (n2, D), at least 2 rows each.

    Raises:
        InvalidInput: a set has fewer than 2 vectors.

    Source: Jayasumana et al. 2024, Rethinking FID, eq. 4 and 5.

    >>> round(cmmd(torch.eye(2), torch.eye(2))[0], 3)
    -9.95
    """
    value, half_width = kernel_estimate(features1, features2, gaussian)
    return CMMD_SCALE * value, CMMD_SCALE * half_width


def kernel_estimate(
    features1: Float[Tensor, "n1 features"], features2: Float[Tensor, "n2 features"], kernel: Kernel = polynomial
) -> tuple[float, float]:
    """`kernel_distance` and half its normal 95 % confidence interval, for independent images.

    The distance is a U-statistic of order 2, whose variance has a part L of single images and a part Q of pairs. The
    spread of the images' influences gives L + 2Q; Q, the variance of k without its row and column means, is
    subtracted. It would be twice as large as it is for sets of one distribution, where L is 0, without that.

    Source: Serfling 1980, Approximation theorems, section 5.2.1 (the decomposition of U-statistics).

    >>> rows = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> value, half_width = kernel_estimate(rows[:50], rows[50:])
    >>> abs(value) < half_width
    True
    """
    x, y = features1.to("cpu", torch.float64), features2.to("cpu", torch.float64)
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise InvalidInput(f"the kernel distance needs at least 2 vectors of each set, got {n} and {m}")
    xx, yy, xy = _within(x, kernel), _within(y, kernel), _across(x, y, kernel)
    of_x, of_y = 2 * (xx.rows - xy.rows), 2 * (yy.rows - xy.columns)
    influences = (of_x.var() / n + of_y.var() / m).item()
    pairs = 2 * xx.residual / (n * (n - 1)) + 2 * yy.residual / (m * (m - 1)) + 4 * xy.residual / (n * m)
    variance = max(influences - pairs, influences / 2)  # L + Q is at least half of L + 2Q
    value = xx.rows.mean() + yy.rows.mean() - 2 * xy.rows.mean()
    return value.item(), NORMAL_95 * variance**0.5


@dataclass(frozen=True)
class _Means:
    """Means of a matrix of kernel values: of each row, of each column, and the variance that these do not explain."""

    rows: Tensor
    columns: Tensor
    residual: float


def _within(x: Tensor, kernel: Kernel) -> _Means:
    """Of the pairs of different vectors of one set."""
    n = len(x)
    rows, _, squares = _sums(x, x, kernel, different=True)
    means, variance = rows / (n - 1), squares / (n * (n - 1)) - (rows.mean() / (n - 1)) ** 2
    unexplained = variance - 2 * means.var()
    return _Means(means, means, max(0.0, unexplained.item()) / (1 - 2 / (n - 1)) if n > 3 else 0.0)


def _across(x: Tensor, y: Tensor, kernel: Kernel) -> _Means:
    """Of the pairs of a vector of each set."""
    n, m = len(x), len(y)
    rows, columns, squares = _sums(x, y, kernel)
    rows, columns, variance = rows / m, columns / n, squares / (n * m) - (rows.sum() / (n * m)) ** 2
    unexplained = variance - rows.var() - columns.var()
    return _Means(rows, columns, max(0.0, unexplained.item()) / (1 - 1 / n - 1 / m) if min(n, m) > 2 else 0.0)


def _sums(x: Tensor, y: Tensor, kernel: Kernel, different: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over rows and columns of the kernel's values, and of their squares; `different` sets the diagonal to 0."""
    rows, columns, squares = [], torch.zeros(len(y), dtype=x.dtype), torch.zeros((), dtype=x.dtype)
    for start in range(0, len(x), BLOCK):
        values = kernel(x[start : start + BLOCK], y)
        if different:
            values.diagonal(start).zero_()
        rows.append(values.sum(1))
        columns += values.sum(0)
        squares += values.square().sum()
    return torch.cat(rows), columns, squares
