"""Feature extractors: networks that map images, as bytes, to the vectors that sets of images are compared by.

An extractor is a network with its preprocessing: Inception (see `inception`), a network that was never trained
(`random_network`), or a layer of any network.
"""

from typing import Literal, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from invariances.errors import InvalidInput
from invariances.evaluation.base import CanEncode
from invariances.models.frozen import Frozen
from invariances.utils.images import from_uint8
from invariances.utils.weights import fingerprint

Mode = Literal["legacy", "clean"]


def resize(
    pixels: UInt8[Tensor, "batch channels height width"], size: int, mode: Mode
) -> Float[Tensor, "batch channels size size"]:
    """Resize bytes to (size, size), as floats in [0, 255].

    - `legacy`: bilinear without antialiasing on TensorFlow 1's grid, as in published FIDs.
    - `clean`: bicubic with antialiasing, not rounded (Parmar et al. 2022, "On aliased resizing").

    Raises:
        InvalidInput: another mode.

    >>> resize(torch.tensor([[0, 200], [0, 200]], dtype=torch.uint8).view(1, 1, 2, 2), 4, "legacy")[0, 0, 0]
    tensor([  0., 100., 200., 200.])
    """
    if mode == "clean":
        floats = interpolate(pixels.float(), (size, size), mode="bicubic", antialias=True)
        return floats.clamp(0, 255)
    if mode != "legacy":
        raise InvalidInput(f"mode is {mode!r}; expected legacy or clean")
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    return interpolate_bilinear_2d_like_tensorflow1x(pixels.float(), (size, size), align_corners=False)


class Extractor(nn.Module):
    """A frozen network that turns bytes (B, C, H, W) into features (B, D), float32.

    Attributes:
        name: part of a score's name.
        transform: description of the preprocessing of the bytes.
        distances: those that scores in these features consist of, see `fid.compare`.
    """

    distances: tuple[str, ...] = ("fid", "kid")

    def __init__(self, name: str, transform: str, network: nn.Module) -> None:
        super().__init__()
        self.name, self.transform = name, transform
        self.network = network.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(_bare(self.network).parameters(), torch.empty(0)).device

    def fingerprint(self) -> str:
        """The name with the first digits of a hash of architecture, preprocessing and weights."""
        return f"{self.name}-{fingerprint(_bare(self.network))}"


class PictureExtractor(Extractor):
    """A network on RGB pictures of one size: one channel is repeated to three, bytes become (b − 128) / 128.

    Args:
        name: of the network; `clean_` is put before it in that mode.
        network: (B, 3, size, size) -> (B, D).
        size: side in pixels.
        mode: see `resize`.

    Example:
        >>> pixels = torch.zeros(5, 1, 28, 28, dtype=torch.uint8)
        >>> PictureExtractor("pixels", nn.Flatten(), size=8)(pixels).shape
        torch.Size([5, 192])
    """

    def __init__(self, name: str, network: nn.Module, size: int, mode: Mode = "legacy") -> None:
        super().__init__(
            f"clean_{name}" if mode == "clean" else name, f"bytes, {mode} resize to {size}", network
        )
        self.size, self.mode = size, mode

    def forward(
        self, pixels: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features of a batch."""
        rgb = pixels.to(self.device).expand(-1, 3, -1, -1)
        return self.network((resize(rgb, self.size, self.mode) - 128) / 128)


class LayerExtractor(Extractor):
    """Features from any network with an `encode`, such as a `Greybox`, on images in [-1, 1] at their own size.

    A map (B, C, H, W) is averaged over its positions, as Inception's last one is; vectors are unchanged.
    The network's own preprocessing applies, so the mode of resizing makes no difference.

    Args:
        name: such as `digits_clf.conv1`.
        network: `encode` maps (B, C, H, W) in [-1, 1] to a tensor (B, D) or (B, D, H, W).

    Raises:
        TypeError: the network has no `encode`.

    Example:
        >>> from invariances.models import DigitClassifier, Greybox
        >>> extractor = LayerExtractor("digits.conv1", Greybox(DigitClassifier(), layer="conv1"))
        >>> extractor(torch.zeros(5, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([5, 32])
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        if not callable(getattr(network, "encode", None)):
            raise TypeError(f"{type(network).__name__} has no method encode; use a Greybox or a network that has one")
        super().__init__(name, "bytes, as they are", network)

    def forward(
        self, pixels: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features of a batch."""
        z = cast(CanEncode, self.network).encode(from_uint8(pixels.to(self.device)))
        if not (isinstance(z, Tensor) and z.ndim in (2, 4)):
            found = f"shape {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
            raise InvalidInput(f"{self.name}: encode returned {found}; expected a tensor (B, D) or (B, D, H, W)")
        return z.float().flatten(2).mean(dim=2) if z.ndim == 4 else z.float()


def _bare(network: nn.Module) -> nn.Module:
    """The network inside `Frozen`."""
    return _bare(network.network) if isinstance(network, Frozen) else network


def random_network(mode: Mode = "legacy") -> PictureExtractor:
    """A network that was never trained, always with the same weights: 512 features of pictures of any kind.

    Four 4 × 4 stride-2 convolutions with LeakyReLU on 64 × 64 pixels, averaged over positions. Random
    features compare sets that are far from photographs (Naeem et al. 2020, section 3.2); the scale of the
    scores differs from that of other features.

    >>> random_network()(torch.zeros(5, 3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([5, 512])
    """
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for c_in, c_out in ((3, 64), (64, 128), (128, 256), (256, 512)):
        conv = nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, a=0.2, generator=generator)
        layers += [conv, nn.LeakyReLU(0.2)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return PictureExtractor("random", network, 64, mode)
