"""Estimate the number of a code's dimensions that belong to each factor."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from invariances.errors import InvalidInput

Codes = Float[Tensor, "batch channels"] | Float[Tensor, "batch channels 1 1"]


def estimate_dimensions(
    factor: Int[Tensor, " batch"], example1: Codes, example2: Codes, n_factors: int
) -> tuple[list[int], list[float]]:
    """Estimate the sizes of factors in a code from pairs of examples that share one factor.

        s_F = Σ_c E_F[(a − m_F)(b − m_F)] / Σ_c Var,      sizes = ⌊softmax(s)·N⌋

    E_F is the mean over the pairs (a, b) that share factor F, m_F their mean code; Var is the variance of
    channel c over all examples. A factor scores near 1 if the codes of its pairs agree in all channels, and
    near 0 if they agree in none. The residual, the last factor, scores 1 and takes the channels that
    rounding leaves over. With K factors, a concept that the code ignores still gets about N / (1 + e (K − 1)) or
    more.

    Args:
        factor: index of the factor that a pair shares, in [0, n_factors - 2].
        example1: codes a of the first examples.
        example2: codes b of the second examples.
        n_factors: number of factors, with the residual.

    Returns:
        The sizes, whose sum is N, and the scores; the residual is last.

    Raises:
        InvalidInput: see `DimensionEstimator`.

    Source: Esser, Rombach and Ommer 2020, A disentangling invertible interpretation network, section 3.

    >>> shared = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    >>> own = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [0.0, -1.0]])
    >>> estimate_dimensions(torch.zeros(4, dtype=torch.long), shared + own, shared - own, n_factors=2)
    ([0, 2], [0.0, 1.0])
    """
    estimator = DimensionEstimator(n_factors)
    estimator.update(factor, example1, example2)
    return estimator.compute()


class DimensionEstimator:
    """`estimate_dimensions` for data that comes in batches; memory does not grow with their number.

    Args:
        n_factors: number of factors, with the residual.

    Raises:
        InvalidInput: `n_factors` is under 2.

    >>> estimator = DimensionEstimator(n_factors=2)
    >>> for _ in range(3):
    ...     codes = torch.randn(4, 8)
    ...     estimator.update(torch.zeros(4, dtype=torch.long), codes, codes)
    >>> estimator.compute()[0]
    [4, 4]
    """

    def __init__(self, n_factors: int) -> None:
        if n_factors < 2:
            raise InvalidInput(f"n_factors is {n_factors}; expected 2 or more: one factor and the residual")
        self.n_factors = n_factors
        self._origin = torch.zeros((), dtype=torch.float64)  # subtracted from codes: rounding would hide their spread
        self._counts = torch.zeros(n_factors - 1, 1, dtype=torch.float64)  # pairs of each factor
        self._sums = torch.zeros(n_factors - 1, 0, dtype=torch.float64)  # Σ (a + b), (factors, channels)
        self._products = torch.zeros(n_factors - 1, 1, dtype=torch.float64)  # Σ a·b
        self._squares = torch.zeros((), dtype=torch.float64)  # Σ ‖a‖² + ‖b‖², all factors

    def update(self, factor: Int[Tensor, " batch"], example1: Codes, example2: Codes) -> None:
        """Add a batch of pairs; arguments as in `estimate_dimensions`.

        Raises:
            InvalidInput: a factor is the residual or out of range, shapes do not fit, or a code is not finite.
        """
        a, b = (_flatten(codes) for codes in (example1, example2))
        self._check(factor, a, b)
        if len(a) and not self._counts.any():
            self._origin = torch.cat([a, b]).mean(0)
        a, b = a - self._origin, b - self._origin
        pairs = F.one_hot(factor.cpu().long(), self.n_factors - 1).double().T  # (factors, batch)
        self._counts += pairs.sum(1, keepdim=True)
        self._sums = pairs @ (a + b) + (self._sums if self._sums.numel() else 0)
        self._products += pairs @ (a * b).sum(1, keepdim=True)
        self._squares += a.square().sum() + b.square().sum()

    @property
    def n_pairs(self) -> int:
        """Number of pairs so far."""
        return int(self._counts.sum())

    def compute(self) -> tuple[list[int], list[float]]:
        """Sizes and scores from all batches so far.

        Raises:
            InvalidInput: a factor has no pair, or all codes are equal.
        """
        if empty := [index for index, count in enumerate(self._counts) if not count]:
            raise InvalidInput(f"no pair shares factor {empty[0]}; expected at least one, to estimate its size")
        n_channels = self._sums.shape[1]
        scores = [*self._scores().tolist(), 1.0]
        shares = torch.tensor(scores, dtype=torch.float64).softmax(0)
        sizes = [int(share * n_channels) for share in shares[:-1]]
        return [*sizes, n_channels - sum(sizes)], scores

    def _scores(self) -> Tensor:
        """Cov_F / Var for each factor: (factors,)."""
        means = self._sums / (2 * self._counts)
        covariances = self._products[:, 0] / self._counts[:, 0] - means.square().sum(1)
        n_examples = 2 * self._counts.sum()
        variance = self._squares / n_examples - (self._sums.sum(0) / n_examples).square().sum()
        if variance <= 1e-12 * self._squares / n_examples:  # rounding errors of equal codes
            raise InvalidInput("all codes are equal; expected codes that differ between images")
        return covariances / variance

    def _check(self, factor: Tensor, a: Tensor, b: Tensor) -> None:
        """Refuse input that would give a wrong estimate."""
        last = self.n_factors - 2
        if wrong := [index for index in factor.tolist() if not 0 <= index <= last]:
            kind = "the residual" if wrong[0] == last + 1 else "out of range"
            raise InvalidInput(f"a pair shares factor {wrong[0]}, which is {kind}; expected 0 to {last}")
        if not len(factor) == len(a) == len(b) or a.shape != b.shape:
            shapes = tuple(factor.shape), tuple(a.shape), tuple(b.shape)
            raise InvalidInput(f"factor, example1 and example2 have shapes {shapes}; expected (B,) and twice (B, C)")
        if self._sums.numel() and self._sums.shape[1] != a.shape[1]:
            raise InvalidInput(f"codes have {a.shape[1]} channels; expected {self._sums.shape[1]} as before")
        if not (a.isfinite().all() and b.isfinite().all()):
            raise InvalidInput("codes hold NaN or infinite values; expected finite ones")


def _flatten(codes: Tensor) -> Tensor:
    """Codes (B, C, 1, 1) or (B, C) as (B, C) float64 on the CPU."""
    if codes.ndim not in (2, 4) or codes.shape[2:].numel() != 1:
        raise InvalidInput(f"codes have shape {tuple(codes.shape)}; expected (B, C) or (B, C, 1, 1)")
    return codes.detach().flatten(1).cpu().double()
