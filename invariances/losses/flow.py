"""Losses of the flows: negative log-likelihoods up to constants, as means over the batch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.errors import InvalidInput

Factor = Float[Tensor, "batch _channels *_grid"]
LogDeterminant = Float[Tensor, " batch"]
Scalar = Float[Tensor, ""]


def flow_nll(v: Factor, logdet: LogDeterminant) -> Scalar:
    """Negative log-likelihood of x under a flow v = t(x) with v ~ N(0, 1): mean of ½‖v‖² − log|det ∂v/∂x|.

    Args:
        v: (B, C, …), any real values; squares are summed over all but the batch dimension.
        logdet: log|det ∂v/∂x|, (B,).

    Returns:
        A scalar, in nats.

    Source: Esser, Rombach and Ommer 2020, CVPR eq. 4 and ECCV eq. 5, without the constant ½ C log 2π.

    >>> flow_nll(torch.ones(2, 4, 1, 1), torch.tensor([1.0, 0.0]))
    tensor(1.5000)
    """
    return (_half_square(v) - logdet).mean()


def factor_nll(
    factors1: Sequence[Factor],
    logdet1: LogDeterminant,
    factors2: Sequence[Factor],
    logdet2: LogDeterminant,
    factor: Tensor | int,
    rho: float = 0.975,
) -> Scalar:
    """Negative log-likelihood of pairs of examples that share factors.

    The loss of the first example is that of `flow_nll`. The second example's shared factors are conditioned on
    those of the first: ½‖e₂ − ρ e₁‖² / (1 − ρ²) replaces ½‖e₂‖².

    Args:
        factors1: K factors of the first examples, each (B, N_k, …), any real values.
        logdet1: log-determinants of the first examples, (B,).
        factors2: factors of the second examples, of the same shapes.
        logdet2: log-determinants of the second examples, (B,).
        factor: integers (B,), or one for all pairs. k ≥ 0: the pair shares factor k; −k with k ≥ 1: it shares all
            factors but k.
        rho: correlation ρ of shared factors, in [0, 1).

    Returns:
        A scalar, in nats.

    Raises:
        InvalidInput: factors of the two examples that differ in number or shape; `factor` not integer, beyond
            ±(K − 1) or not (B,); rho outside [0, 1).

    Source: Esser, Rombach and Ommer 2020, CVPR eq. 10, without its constants.

    >>> one, other = [torch.ones(1, 2, 1, 1)] * 2, [torch.zeros(1, 2, 1, 1)] * 2
    >>> factor_nll(one, torch.zeros(1), other, torch.zeros(1), factor=1, rho=0.5)
    tensor(2.3333)
    """
    _check(factors1, factors2, rho)
    shared = _shared(factor, len(factors1), logdet1)
    nll2 = -logdet2
    for k, (e1, e2) in enumerate(zip(factors1, factors2, strict=True)):
        nll2 = nll2 + torch.where(shared[:, k], _half_square(e2 - rho * e1) / (1 - rho**2), _half_square(e2))
    return (sum(map(_half_square, factors1)) - logdet1 + nll2).mean()


def _half_square(v: Tensor) -> Tensor:
    """½‖v‖² of each example."""
    return v.square().flatten(1).sum(1) / 2


def _shared(factor: Tensor | int, n_factors: int, like: Tensor) -> Tensor:
    """Which factors each pair shares, (B, K)."""
    factor = torch.as_tensor(factor, device=like.device)
    if factor.is_floating_point() or factor.shape not in ((), like.shape):
        raise InvalidInput(
            f"factor is {factor.dtype} of shape {tuple(factor.shape)}; expected integers ({len(like)},)"
        )
    if (factor.abs() >= n_factors).any():
        raise InvalidInput(
            f"factor holds {factor.min()} to {factor.max()}; expected {1 - n_factors} to {n_factors - 1}, "
            f"since there are {n_factors} factors"
        )
    factor, k = factor.expand(len(like))[:, None], torch.arange(n_factors, device=like.device)
    return (factor == k) | ((factor < 0) & (factor != -k))


def _check(factors1: Sequence[Tensor], factors2: Sequence[Tensor], rho: float) -> None:
    shapes1, shapes2 = [tuple(e.shape) for e in factors1], [tuple(e.shape) for e in factors2]
    if shapes1 != shapes2:
        raise InvalidInput(f"expected factors of the same shapes for both examples; got {shapes1} and {shapes2}")
    if not 0 <= rho < 1:
        raise InvalidInput(f"rho is {rho}; expected a correlation of at least 0 and below 1")
