"""Networks of a world with a Gaussian code: an encoder with noise, a layer that keeps the first dimensions, and flows.

The code is x + N(0, 0.2²), x ~ N(0, Σ); z are the first dimensions of x; images are decoded codes. A flow is exact,
has the standard deviation of the exact one times a factor, ignores z, or uses only half of its dimensions.
"""

import math

import torch
from torch import nn

from invariances.models import DiagonalGaussian

NOISE = 0.2
SAMPLERS = {
    "exact": {},
    "x0.2": {"spread": 0.2},
    "x0.5": {"spread": 0.5},
    "x0.9": {"spread": 0.9},
    "x1.5": {"spread": 1.5},
    "ignores z": {"share": 0.0},
    "half of z": {"share": 0.5},
}


class World:
    """Images (n, *shape) of N = C·H·W values, of which z holds the first n_known; `correlated`: Σ is not 1."""

    def __init__(self, shape=(1, 8, 8), n_known=16, n_classes=10, correlated=False, scale=1.0):
        self.shape, self.n_known, self.n = shape, n_known, math.prod(shape)
        generator = torch.Generator().manual_seed(1)
        mix = torch.randn(self.n, self.n, generator=generator, dtype=torch.float64) / self.n**0.5
        self.covariance = scale**2 * (mix @ mix.T if correlated else torch.eye(self.n, dtype=torch.float64))
        self.root = torch.linalg.cholesky(self.covariance).float()
        self.weight = torch.randn(n_known, n_classes, generator=generator)

    def images(self, n, seed=0):
        """Images that do not depend on the noise of codes, which `faithfulness` draws with small seeds."""
        x = torch.randn(n, self.n, generator=torch.Generator().manual_seed(10**6 + seed)) @ self.root.T
        return x.reshape(n, *self.shape)

    def networks(self, spread=1.0, share=1.0):
        """cINN, greybox and autoencoder."""
        return Flow(self, spread, int(share * self.n_known)), Layer(self), Noisy(self)


class Noisy(nn.Module):
    """The autoencoder."""

    def __init__(self, world):
        super().__init__()
        self.shape = world.shape

    def encode(self, x):
        code = x.reshape(len(x), -1, 1, 1)
        return DiagonalGaussian(code, torch.full_like(code, 2 * math.log(NOISE)))

    def decode(self, code):
        return code.reshape(len(code), *self.shape)


class Layer(nn.Module):
    """The network under study."""

    def __init__(self, world):
        super().__init__()
        self.n_known = world.n_known
        self.register_buffer("weight", world.weight)
        self.register_buffer("bias", 2 * torch.eye(len(world.weight.T))[0])  # the mean image has class 0

    def encode(self, x):
        return x.flatten(1)[:, : self.n_known, None, None]

    def decode(self, z):
        return z.flatten(1) @ self.weight + self.bias


class Flow(nn.Module):
    """v = L⁻¹(code − M z)/spread, with M and L Lᵀ the mean and covariance of the code given the first m of z."""

    def __init__(self, world, spread, m):
        super().__init__()
        covariance, identity = world.covariance, torch.eye(world.n, dtype=torch.float64)
        mean = covariance[:, :m] @ torch.linalg.inv(covariance[:m, :m])
        rest = covariance - mean @ covariance[:m] + NOISE**2 * identity
        self.m = m
        self.register_buffer("mean", mean.float())
        self.register_buffer("root", spread * torch.linalg.cholesky(rest).float())

    def centre(self, z):
        return z.flatten(1)[:, : self.m] @ self.mean.T

    def forward(self, code, z):
        v = torch.linalg.solve_triangular(self.root, (code.flatten(1) - self.centre(z)).T, upper=False).T
        return v[..., None, None], -self.root.diagonal().log().sum().expand(len(code))

    def sample(self, z, n, generator=None):
        v = torch.randn(len(z), n, self.root.shape[0], generator=generator)
        return (self.centre(z)[:, None] + v @ self.root.T)[..., None, None]
