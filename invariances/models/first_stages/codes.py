"""Autoencoders with codes of any shape, as first stages whose codes are vectors."""

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.models.distributions import DiagonalGaussian


class VectorCodes(nn.Module):
    """An autoencoder of any class, its codes flattened to vectors (B, N, 1, 1), as the flows take them.

    Its `encode` may return a tensor, which counts as a code without noise, or a distribution with `mean` and `logvar`
    (or `stddev`); codes may have any shape (B, …), such as maps (B, C, h, w).

    Args:
        network: has `encode`, images (B, C, H, W) in [-1, 1] -> codes, and `decode`, codes -> images; only encoded,
            it needs no `decode`.
        code_shape: shape of one code, such as (4, 8, 8); see `VectorCodes.of`.

    Attributes:
        z_dim: N, the product of `code_shape`.

    Raises:
        InvalidInput: codes of another shape, or of a kind that is not known.

    >>> network = nn.Identity()
    >>> network.encode = lambda x: x[:, :1, ::2, ::2]
    >>> network.decode = lambda code: code.expand(-1, 3, -1, -1)
    >>> codes = VectorCodes(network, (1, 2, 2))
    >>> codes.encode(torch.zeros(5, 3, 4, 4)).sample().shape, codes.decode(torch.zeros(5, 4, 1, 1)).shape
    (torch.Size([5, 4, 1, 1]), torch.Size([5, 3, 2, 2]))
    """

    def __init__(self, network: nn.Module, code_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.code_shape = network, code_shape
        self.z_dim = math.prod(code_shape)

    @property
    def studied(self) -> nn.Module:
        """The autoencoder itself, for its class in messages."""
        return self.network

    @staticmethod
    @torch.no_grad()
    def of(network: nn.Module, image: Float[Tensor, "1 channels height width"]) -> nn.Module:
        """The network itself if its codes are vectors (B, z_dim, 1, 1), else with its codes as vectors.

        Args:
            network: see above; its `encode` is called once, in the mode that it is in.
            image: in [-1, 1], of the size of all others.
        """
        encode = cast(Any, network).encode  # a method, of a class that mypy does not know
        shape = tuple(gaussian(encode(image)).mean.shape[1:])
        return network if shape == (getattr(network, "z_dim", None), 1, 1) else VectorCodes(network, shape)

    def encode(self, x: Float[Tensor, "batch channels height width"]) -> DiagonalGaussian:
        """Encode images in [-1, 1] to a distribution over codes (B, N, 1, 1)."""
        found = gaussian(self.network.encode(x))  # type: ignore[operator]
        if found.mean.shape[1:] != self.code_shape:
            raise InvalidInput(
                f"{type(self.network).__name__}: codes of images {tuple(x.shape[1:])} have shape "
                f"{tuple(found.mean.shape[1:])}; expected {self.code_shape}, as of the image they were measured on"
            )
        mean, logvar = (moment.reshape(len(x), self.z_dim, 1, 1) for moment in (found.mean, found.logvar))
        return DiagonalGaussian(mean, logvar, found.deterministic)

    def decode(self, code: Float[Tensor, "batch z_dim 1 1"]) -> Float[Tensor, "batch channels height width"]:
        """Decode codes, any real values, to images in [-1, 1]."""
        return self.network.decode(code.reshape(len(code), *self.code_shape))  # type: ignore[operator]


def gaussian(encoded: Any) -> DiagonalGaussian:
    """What an autoencoder's `encode` returns as a normal distribution.

    Raises:
        InvalidInput: it is neither a tensor nor a distribution with `mean` and `logvar` or `stddev`.

    >>> gaussian(torch.ones(2, 3)).sample()
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    encoded = getattr(encoded, "latent_dist", encoded)  # diffusers puts the distribution there
    if isinstance(encoded, DiagonalGaussian):
        return encoded
    if isinstance(encoded, Tensor):
        return DiagonalGaussian(encoded, torch.zeros_like(encoded), deterministic=True)
    if isinstance(getattr(encoded, "logvar", None), Tensor):
        return DiagonalGaussian(encoded.mean, encoded.logvar)
    if isinstance(getattr(encoded, "stddev", None), Tensor):
        return DiagonalGaussian(encoded.mean, 2 * encoded.stddev.log())
    raise InvalidInput(
        f"encode returned a {type(encoded).__name__}; expected a tensor, or a distribution with mean and logvar, or "
        "mean and stddev"
    )
