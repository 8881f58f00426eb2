"""The distribution over codes that an encoder predicts."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.errors import InvalidInput

LOGVAR_RANGE = (-30.0, 10.0)  # keeps variances and their reciprocals finite in float32


class DiagonalGaussian:
    """Normal distribution with independent dimensions, N(mean, diag(exp(logvar))).

    Args:
        mean: (B, C, 1, 1), any real values.
        logvar: logarithm of the variances, shaped as the mean; clamped to [-30, 10].
        deterministic: every sample is the mean; `kl` and `nll` are 0, since a point mass has no density.

    Raises:
        InvalidInput: mean and logvar differ in shape.

    Example:
        >>> posterior = DiagonalGaussian(torch.zeros(2, 64, 1, 1), torch.zeros(2, 64, 1, 1))
        >>> posterior.sample().shape
        torch.Size([2, 64, 1, 1])
        >>> posterior.kl()
        tensor([0., 0.])
    """

    def __init__(
        self,
        mean: Float[Tensor, "batch *code"],
        logvar: Float[Tensor, "batch *code"],
        deterministic: bool = False,
    ) -> None:
        if mean.shape != logvar.shape:
            raise InvalidInput(f"logvar has shape {tuple(logvar.shape)}; expected that of mean, {tuple(mean.shape)}")
        self.mean, self.logvar = mean, logvar.clamp(*LOGVAR_RANGE)
        self.deterministic = deterministic

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "batch *code"]:
        """Sample mean + exp(logvar/2) ε with ε ~ N(0, 1), differentiable in mean and logvar."""
        if self.deterministic:
            return self.mean
        noise = torch.randn(
            self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device
        )
        return self.mean + (self.logvar / 2).exp() * noise

    def mode(self) -> Float[Tensor, "batch *code"]:
        """The mode, which is the mean."""
        return self.mean

    def kl(self) -> Float[Tensor, " batch"]:
        """KL divergence from N(0, 1) of each example, ½ Σ (mean² + σ² − 1 − log σ²), in nats."""
        return self._total(self.mean.square() + self.logvar.exp() - 1 - self.logvar)

    def nll(self, x: Float[Tensor, "batch *code"]) -> Float[Tensor, " batch"]:
        """Negative log-density of each example, ½ Σ (log 2π + log σ² + (x − mean)²/σ²), in nats.

        Raises:
            InvalidInput: x has another shape than the mean.
        """
        if x.shape != self.mean.shape:
            raise InvalidInput(f"x has shape {tuple(x.shape)}; expected that of mean, {tuple(self.mean.shape)}")
        return self._total(
            math.log(2 * math.pi) + self.logvar + (x - self.mean).square() * (-self.logvar).exp()
        )

    def _total(self, terms: Tensor) -> Tensor:
        total = terms.flatten(1).sum(1) / 2
        return torch.zeros_like(total) if self.deterministic else total


def posterior_tensors(posterior: DiagonalGaussian) -> dict[str, Tensor]:
    """A posterior as named tensors, to keep: `mean`, and `logvar` unless every sample is the mean.

    >>> sorted(posterior_tensors(DiagonalGaussian(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))))
    ['logvar', 'mean']
    """
    spread = {} if posterior.deterministic else {"logvar": posterior.logvar}
    return {"mean": posterior.mean, **spread}


def posterior_of(tensors: Mapping[str, Tensor]) -> DiagonalGaussian:
    """The posterior that `posterior_tensors` took apart.

    >>> posterior_of({"mean": torch.ones(1, 2, 1, 1)}).sample().flatten()
    tensor([1., 1.])
    """
    mean, logvar = tensors["mean"], tensors.get("logvar")
    if logvar is None:
        return DiagonalGaussian(mean, torch.zeros_like(mean), deterministic=True)
    return DiagonalGaussian(mean, logvar)
