"""The autoencoder between images and codes (the first stage)."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.flows.layers.actnorm import register_actnorms, restored_on_failure
from invariances.flows.released import load_released
from invariances.models.blocks import Norm, block, grid_size, initialize, n_channels
from invariances.models.checks import check_images
from invariances.models.distributions import DiagonalGaussian
from invariances.models.released_names import released_names
from invariances.utils.arguments import require_at_least


class Encoder(nn.Module):
    """Images (B, in_channels, in_size, in_size) to vectors (B, out_channels, 1, 1).

    `n_down` blocks halve the grid: 4×4 convolution of stride 2, normalisation, LeakyReLU 0.2. A last convolution
    covers the remaining grid. Images are in [-1, 1], the vectors take any real values.

    Args:
        out_channels: channels of the vectors.
        in_channels, in_size, n_down, norm, width: see `Autoencoder`.

    >>> Encoder(3, in_size=16, n_down=2, out_channels=5, norm="bn", width=8)(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 5, 1, 1])
    """

    def __init__(
        self, in_channels: int, in_size: int, n_down: int, out_channels: int, norm: Norm, width: int
    ) -> None:
        super().__init__()
        grid = grid_size(in_size, n_down)
        channels = [in_channels, *(n_channels(scale, width) for scale in range(n_down))]
        self.blocks = nn.Sequential(*(block(nn.Conv2d, *ends, norm) for ends in pairwise(channels)))
        self.head = nn.Conv2d(channels[-1], out_channels, grid)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images in [-1, 1]."""
        with restored_on_failure(self):
            return self.head(self.blocks(x))


class Decoder(nn.Module):
    """Codes (B, z_dim, 1, 1) to images (B, out_channels, out_size, out_size) in [-1, 1].

    Mirrors `Encoder` with transposed convolutions; ends in tanh.

    Args:
        out_channels, out_size: channels and side of the images.
        n_down, z_dim, norm, width: see `Autoencoder`.

    >>> Decoder(3, out_size=16, n_down=2, z_dim=5, norm="bn", width=8)(torch.randn(2, 5, 1, 1)).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self, out_channels: int, out_size: int, n_down: int, z_dim: int, norm: Norm, width: int
    ) -> None:
        super().__init__()
        grid = grid_size(out_size, n_down)
        channels = [n_channels(scale, width) for scale in reversed(range(n_down))]
        self.head = nn.ConvTranspose2d(z_dim, channels[0], grid)
        self.blocks = nn.Sequential(*(block(nn.ConvTranspose2d, *ends, norm) for ends in pairwise(channels)))
        self.image = nn.ConvTranspose2d(channels[-1], out_channels, 4, stride=2, padding=1, bias=False)

    def forward(self, code: Tensor) -> Tensor:
        """Decode codes, any real values."""
        with restored_on_failure(self):
            return torch.tanh(self.image(self.blocks(self.head(code))))


class Autoencoder(nn.Module):
    """Variational autoencoder of images: x -> N(mean, σ²) over codes z̄ -> x̂ (CVPR 2020 and ECCV 2020).

    Scale s has width · min(2^s, 16) channels. The weights of convolutions are initialised from N(0, 0.02).

    Args:
        in_channels, in_size: images are (B, in_channels, in_size, in_size) in [-1, 1].
        n_down: number of stride-2 convolutions; in_size must be a multiple of 2^n_down.
        z_dim: channels of the code, (B, z_dim, 1, 1).
        norm: "an" (ActNorm), "bn" (BatchNorm) or "none".
        deterministic: codes without noise, see `DiagonalGaussian`.
        width: channels at the finest scale.

    Raises:
        InvalidInput: in_size is no multiple of 2^n_down; images or codes of another size or number of channels.
        TypeError: images that are not floating point.

    Source: Esser, Rombach and Ommer 2020, A disentangling invertible interpretation network; Rombach, Esser and
    Ommer 2020, Making sense of CNNs.

    Example:
        >>> autoencoder = Autoencoder(in_channels=1, in_size=32, n_down=4, z_dim=64, norm="bn")
        >>> posterior = autoencoder.encode(torch.rand(2, 1, 32, 32) * 2 - 1)
        >>> posterior.mode().shape, posterior.kl().shape
        (torch.Size([2, 64, 1, 1]), torch.Size([2]))
        >>> autoencoder.decode(posterior.sample()).shape
        torch.Size([2, 1, 32, 32])
    """

    def __init__(
        self,
        in_channels: int,
        in_size: int,
        n_down: int,
        z_dim: int,
        norm: Norm = "an",
        deterministic: bool = False,
        width: int = 64,
    ) -> None:
        super().__init__()
        require_at_least(in_channels=(in_channels, 1), z_dim=(z_dim, 1), width=(width, 1))
        self.in_channels, self.in_size, self.z_dim = in_channels, in_size, z_dim
        self.deterministic = deterministic
        self.encoder = Encoder(in_channels, in_size, n_down, 2 * z_dim, norm, width)
        self.decoder = Decoder(in_channels, in_size, n_down, z_dim, norm, width)
        self.apply(initialize)
        register_actnorms(self)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution, for which `AutoencoderLoss` compares gradients."""
        return self.decoder.image.weight

    def encode(self, x: Float[Tensor, "batch channels height width"]) -> DiagonalGaussian:
        """Encode images in [-1, 1] to a distribution over codes (B, z_dim, 1, 1)."""
        check_images(x, self.in_channels, self.in_size)
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar, self.deterministic)

    def decode(self, code: Float[Tensor, "batch z_dim 1 1"]) -> Float[Tensor, "batch channels height width"]:
        """Decode codes, any real values, to images in [-1, 1]."""
        if tuple(code.shape[1:]) != (self.z_dim, 1, 1):
            raise InvalidInput(f"codes have shape {tuple(code.shape)}; expected (B, {self.z_dim}, 1, 1)")
        return self.decoder(code)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch channels height width"], DiagonalGaussian]:
        """Encode images in [-1, 1], decode one sampled code of each; returns the images and the distributions."""
        posterior = self.encode(x)
        return self.decode(posterior.sample()), posterior

    def load_released(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of a released autoencoder, strictly.

        Raises:
            InvalidInput: names are missing, unknown or of another shape.
        """
        load_released(self, state_dict, released_names(len(self.decoder.blocks)))
