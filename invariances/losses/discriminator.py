"""A discriminator of image patches."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from invariances.errors import InvalidInput

MOST_LAYERS = 30  # no image is larger than their 2^num_layers


class PatchDiscriminator(nn.Module):
    """PatchGAN discriminator: one logit per patch of the image, high for real patches.

    `num_layers` 4×4 convolutions of stride 2 and one of stride 1, with width · min(2^s, 8) channels at scale
    s, batch normalisation (not after the first) and LeakyReLU 0.2; a last 4×4 convolution computes the logits.
    Weights are initialised from N(0, 0.02), the scales of batch normalisation from N(1, 0.02); biases are 0.
    The state dict has the names of the released checkpoints (`main.0.weight` …).

    Args:
        in_channels: channels of the image.
        num_layers: number of convolutions of stride 2; images must have `min_size` = 3·2^num_layers pixels a side.
        width: channels after the first convolution.
        spectral_norm: divide the weights of all convolutions by their largest singular value, too.

    Raises:
        InvalidInput: num_layers is not 1 to `MOST_LAYERS`; see also `forward`.

    Source: Isola et al. 2017, Image-to-image translation with conditional adversarial networks, section 3.2;
    Miyato et al. 2018, Spectral normalization for generative adversarial networks.

    >>> import torch
    >>> PatchDiscriminator(in_channels=1)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 1, 2, 2])
    """

    def __init__(
        self, in_channels: int, num_layers: int = 3, width: int = 64, spectral_norm: bool = False
    ) -> None:
        super().__init__()
        if not 1 <= num_layers <= MOST_LAYERS:
            raise InvalidInput(f"num_layers is {num_layers}; expected 1 to {MOST_LAYERS}")
        self.in_channels = in_channels
        self.min_size = 3 * 2**num_layers
        channels = [width * min(2**scale, 8) for scale in range(num_layers + 1)]
        layers = [*_block(in_channels, channels[0], 2, batch_norm=False)]
        for scale, (before, after) in enumerate(pairwise(channels), start=1):
            layers += _block(before, after, 2 if scale < num_layers else 1)
        layers.append(nn.Conv2d(channels[-1], 1, 4, padding=1))
        self.main = nn.Sequential(*layers).apply(_initialize)
        if spectral_norm:
            self.main.apply(_normalize_spectrally)

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 1 patch_rows patch_columns"]:
        """Map images in [-1, 1] to one logit per patch, any real values.

        Raises:
            InvalidInput: the image has other channels than `in_channels`, or a side shorter than `min_size`.
        """
        channels, height, width = image.shape[1:]
        if channels != self.in_channels:
            raise InvalidInput(f"discriminator: expected images with {self.in_channels} channels, got {channels}")
        if min(height, width) < self.min_size:
            raise InvalidInput(
                f"discriminator: expected images of at least {self.min_size} pixels a side, got {height}×{width}; "
                "use fewer layers or larger images"
            )
        return self.main(image)


def _block(in_channels: int, out_channels: int, stride: int, batch_norm: bool = True) -> list[nn.Module]:
    """A 4×4 convolution, batch normalisation if chosen, and LeakyReLU 0.2."""
    # batch normalisation would cancel a bias
    convolution = nn.Conv2d(in_channels, out_channels, 4, stride, padding=1, bias=not batch_norm)
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return [convolution, *norm, nn.LeakyReLU(0.2, inplace=True)]


def _initialize(module: nn.Module) -> None:
    """Initialise weights from N(0, 0.02), scales of batch normalisation from N(1, 0.02), biases with 0."""
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 0.0 if isinstance(module, nn.Conv2d) else 1.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _normalize_spectrally(module: nn.Module) -> None:
    """Divide a convolution's weight by its largest singular value in every forward pass."""
    if isinstance(module, nn.Conv2d):
        parametrizations.spectral_norm(module)
