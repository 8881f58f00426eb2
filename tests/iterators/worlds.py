"""First stages and flows whose every value is known."""

import torch
from torch import nn

from invariances.models import DiagonalGaussian


class Pixels(nn.Module):
    """Images (B, C, 1, 1) are their own codes; `spread` is the standard deviation of the posterior."""

    def __init__(self, spread: float = 0.0, z_dim: int = 3) -> None:
        super().__init__()
        self.spread, self.z_dim = spread, z_dim

    def encode(self, x):
        logvar = torch.full_like(x, 2 * torch.tensor(max(self.spread, 1e-6)).log().item())
        return DiagonalGaussian(x, logvar, deterministic=not self.spread)

    def decode(self, code):
        return code


class Representation(nn.Module):
    """A first stage without a distribution."""

    z_dim = 3

    def encode(self, x):
        return 2 * x


class Double(nn.Module):
    """v = 2 z̄."""

    in_channel = 3

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.scale * x, (3 * self.scale.log()).expand(len(x))

    def inverse(self, v):
        return v / self.scale

    def sample(self, n, generator=None):
        return self.inverse(torch.randn(n, 3, 1, 1, generator=generator))


class DoubleFactors(Double):
    """The same; factor 0 is the first channel, the residual the other two."""

    sizes = (1, 2)

    def forward(self, x):
        v, logdet = super().forward(x)
        return list(v.split(self.sizes, dim=1)), logdet

    def inverse(self, factors):
        return super().inverse(torch.cat(list(factors), dim=1))

    def sample(self, n, generator=None):
        return super().inverse(torch.randn(n, 3, 1, 1, generator=generator))
