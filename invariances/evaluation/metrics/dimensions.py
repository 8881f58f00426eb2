"""Estimate the number of a code's dimensions that belong to each factor."""

import warnings

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from invariances.errors import InvalidInput
from invariances.evaluation.metrics.estimate import student_95

N_BLOCKS = 20  # of pairs, for the intervals
LEAST_PAIRS = 100  # of a factor: with the codes of 64 channels, scores have a standard error of about .02 then
EQUAL = 1e-9  # of a channel's size: range of one that is constant

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
        self._limits = torch.zeros(0), torch.zeros(0)  # smallest and largest value of each channel
        self._n_channels = 0  # until the first batch
        self._reset()

    def _reset(self) -> None:
        """Set all sums to 0."""
        n_cells = N_BLOCKS * (self.n_factors - 1) if self._n_channels else 0
        shape = n_cells, self._n_channels  # each factor's pairs are dealt to the blocks in turn
        self._counts = torch.zeros(n_cells, dtype=torch.float64)  # pairs
        self._sums = torch.zeros(shape, dtype=torch.float64)  # Σ (a + b)
        self._products = torch.zeros(n_cells, dtype=torch.float64)  # Σ a·b
        self._squares = torch.zeros(shape, dtype=torch.float64)  # Σ a² + b²

    def update(self, factor: Int[Tensor, " batch"], example1: Codes, example2: Codes) -> None:
        """Add a batch of pairs; arguments as in `estimate_dimensions`.

        Raises:
            InvalidInput: a factor is the residual or out of range, shapes do not fit, or a code is not finite.
        """
        a, b = (_flatten(codes) for codes in (example1, example2))
        self._check(factor, a, b)
        if not len(a):
            return
        both = torch.cat([a, b])
        if not self._n_channels:
            self._n_channels, self._origin, self._limits = a.shape[1], both.mean(0), (both[0], both[0])
            self._reset()
        lowest, highest = self._limits
        self._limits = torch.minimum(lowest, both.amin(0)), torch.maximum(highest, both.amax(0))
        a, b = a - self._origin, b - self._origin
        cells = F.one_hot(self._cells(factor.cpu().long()), len(self._counts)).double().T  # (cells, batch)
        self._counts += cells.sum(1)
        self._sums += cells @ (a + b)
        self._products += cells @ (a * b).sum(1)
        self._squares += cells @ (a.square() + b.square())

    def _cells(self, factor: Tensor) -> Tensor:
        """The cell of each pair: block · factors + factor."""
        pairs = F.one_hot(factor, self.n_factors - 1)
        before = self._by_block(self._counts).sum(0).long() + pairs.cumsum(0) - pairs  # pairs of each factor
        return before.gather(1, factor.unsqueeze(1))[:, 0] % N_BLOCKS * (self.n_factors - 1) + factor

    def _by_block(self, cells: Tensor) -> Tensor:
        return cells.unflatten(0, (N_BLOCKS, self.n_factors - 1))

    @property
    def n_pairs(self) -> int:
        """Number of pairs so far."""
        return int(self._counts.sum())

    def compute(self) -> tuple[list[int], list[float]]:
        """Sizes and scores from all batches so far.

        Warns where a factor has fewer than `LEAST_PAIRS` pairs, and of channels that are constant: these count in the
        sizes but not in the scores.

        Raises:
            InvalidInput: a factor has no pair, or all codes are equal.
        """
        counts = self._by_block(self._counts).sum(0) if self.n_pairs else torch.zeros(1)
        if empty := [index for index, count in enumerate(counts) if not count]:
            raise InvalidInput(f"no pair shares factor {empty[0]}; expected at least one, to estimate its size")
        scores = self._scores(torch.zeros(1, N_BLOCKS))[0]
        self._warn(counts)
        shares, n_channels = _shares(scores), self._n_channels
        sizes = [int(share * n_channels) for share in shares[:-1]]
        return [*sizes, n_channels - sum(sizes)], [*scores.tolist(), 1.0]

    def half_widths(self) -> tuple[list[float], list[float]] | None:
        """Half the 95 % confidence intervals of sizes and scores, for independent pairs; the residual's score has 0.

        Jackknife over 20 blocks of pairs, each of which is left out once, with Student's t. The intervals of sizes are
        those of `softmax(s)·N`, before rounding.

        Returns:
            of sizes and of scores, each of the factors and the residual; None where a factor has fewer than 20 pairs.

        Source: Shao & Tu 1995, The jackknife and bootstrap, section 2.3.

        >>> estimator = DimensionEstimator(n_factors=2)
        >>> generator = torch.Generator().manual_seed(0)
        >>> a, b = (torch.randn(400, 8, generator=generator) for _ in range(2))
        >>> estimator.update(torch.zeros(400, dtype=torch.long), a, b)
        >>> [round(width, 2) for width in estimator.half_widths()[1]]
        [0.04, 0.0]
        """
        if not self.n_pairs or self._by_block(self._counts).sum(0).min() < N_BLOCKS:
            return None
        scores = self._scores(torch.eye(N_BLOCKS))
        sizes = _shares(scores) * self._n_channels
        t = student_95(N_BLOCKS - 1)
        widths = [t * (N_BLOCKS - 1) * (v.var(dim=0) / N_BLOCKS).sqrt() for v in (sizes, scores)]
        return widths[0].tolist(), [*widths[1].tolist(), 0.0]

    def _scores(self, left_out: Tensor) -> Tensor:
        """Cov_F / Var of each factor without the blocks that are left out: (n, N_BLOCKS) -> (n, factors)."""
        used = (1 - left_out).double()
        counts, products = (used @ self._by_block(each) for each in (self._counts, self._products))
        sums, squares = (torch.einsum("nb,bfc->nfc", used, self._by_block(v)) for v in (self._sums, self._squares))
        means = sums / (2 * counts.unsqueeze(2))
        covariances = products / counts - means.square().sum(2)
        n_examples = 2 * counts.sum(1, keepdim=True)
        squares = squares.sum(dim=(1, 2)).unsqueeze(1) / n_examples
        variance = squares - (sums.sum(1) / n_examples).square().sum(1, keepdim=True)
        if (variance <= 1e-12 * squares).any():  # rounding errors of equal codes
            raise InvalidInput("all codes are equal; expected codes that differ between images")
        return covariances / variance

    def _warn(self, counts: Tensor) -> None:
        """Say what makes the estimates unreliable."""
        if few := [f"{int(n)} of factor {k}" for k, n in enumerate(counts) if n < LEAST_PAIRS]:
            warnings.warn(
                f"sizes of factors from few pairs: {', '.join(few)}; expected at least {LEAST_PAIRS} of each, as "
                "scores are uncertain otherwise",
                stacklevel=3,
            )
        if constant := self._constant_channels():
            warnings.warn(
                f"{len(constant)} of {self._n_channels} channels of the codes are constant: "
                f"{', '.join(map(str, constant))}; sizes count them although no factor can be in them",
                stacklevel=3,
            )

    def _constant_channels(self) -> list[int]:
        lowest, highest = self._limits
        constant = highest - lowest <= EQUAL * torch.maximum(lowest.abs(), highest.abs())
        return constant.nonzero()[:, 0].tolist()

    def _check(self, factor: Tensor, a: Tensor, b: Tensor) -> None:
        """Refuse input that would give a wrong estimate."""
        last = self.n_factors - 2
        if wrong := [index for index in factor.tolist() if not 0 <= index <= last]:
            kind = "the residual" if wrong[0] == last + 1 else "out of range"
            raise InvalidInput(f"a pair shares factor {wrong[0]}, which is {kind}; expected 0 to {last}")
        if not len(factor) == len(a) == len(b) or a.shape != b.shape:
            shapes = tuple(factor.shape), tuple(a.shape), tuple(b.shape)
            raise InvalidInput(f"factor, example1 and example2 have shapes {shapes}; expected (B,) and twice (B, C)")
        n_channels = a.shape[1]
        if self._n_channels not in (0, n_channels):
            raise InvalidInput(f"codes have {n_channels} channels; expected {self._n_channels} as before")
        if not (a.isfinite().all() and b.isfinite().all()):
            raise InvalidInput("codes hold NaN or infinite values; expected finite ones")


def _shares(scores: Tensor) -> Tensor:
    """Softmax over the factors' scores (…, K − 1) and the residual's, which is 1: (…, K)."""
    return torch.cat([scores, torch.ones_like(scores[..., :1])], dim=-1).softmax(-1)


def _flatten(codes: Tensor) -> Tensor:
    """Codes (B, C, 1, 1) or (B, C) as (B, C) float64 on the CPU."""
    if codes.ndim not in (2, 4) or codes.shape[2:].numel() != 1:
        raise InvalidInput(f"codes have shape {tuple(codes.shape)}; expected (B, C) or (B, C, 1, 1)")
    return codes.detach().flatten(1).cpu().double()
