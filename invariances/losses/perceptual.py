"""Perceptual distances: between images, in the features of a network."""

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
from torchvision.models import VGG16_Weights

from invariances.errors import InvalidInput, UserError
from invariances.utils.checkpoints import unreadable
from invariances.utils.download import download
from invariances.utils.names import hint


class LPIPS(nn.Module):
    """Learned perceptual distance: weighted squared differences of normalised VGG16 features.

    torchmetrics provides the network and its learned weights; the VGG16 backbone (528 MB) is downloaded on first
    use to torch's folder of checkpoints. One-channel images are repeated to three channels. Images below 16 pixels
    a side, too small for VGG's pooling, are enlarged by an integer factor (nearest neighbour). Images are in [-1, 1],
    which the first pair is checked for; of one image of it, such as a reconstruction, any values are taken.

    Raises:
        UserError: the backbone's file cannot be downloaded or is damaged.
        InvalidInput: images that have neither 1 nor 3 channels; bytes; a first pair that is not in [-1, 1].

    Source: Zhang et al. 2018, The unreasonable effectiveness of deep features as a perceptual metric, eq. 1.
    """

    min_size = 16

    def __init__(self) -> None:
        super().__init__()
        _check_backbone()
        self.network = LearnedPerceptualImagePatchSimilarity(net_type="vgg").net
        self._is_checked = False

    def forward(
        self,
        image1: Float[Tensor, "batch channels height width"],
        image2: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, " batch"]:
        """Distance ≥ 0 of each pair of images in [-1, 1], (B,); 0 for equal images."""
        if not self._is_checked:
            _require_signed_range(image1, image2)
            self._is_checked = True
        return self.network(self._prepare(image1), self._prepare(image2)).flatten()

    def _prepare(self, image: Tensor) -> Tensor:
        """Repeat channels to three and pixels to at least `min_size` a side."""
        channels, height, width = image.shape[1:]
        if channels not in (1, 3):
            raise InvalidInput(f"LPIPS: expected images of 1 or 3 channels, got {channels}")
        if min(height, width) < self.min_size:
            image = F.interpolate(image, scale_factor=math.ceil(self.min_size / min(height, width)))
        return image.expand(-1, 3, -1, -1)


class FeatureDistance(nn.Module):
    """Perceptual distance in the features of any network, for images unlike those that VGG was trained on.

        d(x, y) = Σ_layers mean_positions Σ_channels (φ(x) − φ(y))²

    where φ is a layer's output divided by its norm over the channels: LPIPS without learned weights. The term of
    each layer is in [0, 4].

    Args:
        network: takes images (B, C, H, W) in [-1, 1].
        layers: names of modules in it, as in `network.named_modules()`, whose outputs are tensors (B, C, …);
            or one name.

    Raises:
        InvalidInput: no layer is named, or one that the network does not have or does not call, or whose output is no
            such tensor.

    >>> network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    >>> image = torch.zeros(2, 1, 8, 8)
    >>> FeatureDistance(network, ["0", "3"])(image, image).tolist()
    [0.0, 0.0]
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        if not self.layers:
            raise InvalidInput("layers is empty; expected the name of at least one layer")
        for name in self.layers:
            _check_layer(network, name)

    def forward(
        self,
        image1: Float[Tensor, "batch channels height width"],
        image2: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, " batch"]:
        """Distance ≥ 0 of each pair of images, (B,); 0 for equal images."""
        pairs = zip(self._features(image1), self._features(image2), strict=True)
        return torch.stack([(a - b).square().sum(1).mean(1) for a, b in pairs]).sum(0)

    def _features(self, image: Tensor) -> list[Tensor]:
        """Run the network; the normalised output of each layer, (B, C, positions)."""
        outputs: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            for name in self.layers:
                hooks.enter_context(self.network.get_submodule(name).register_forward_hook(_keep(outputs, name)))
            self.network(image)
        if missing := [name for name in self.layers if name not in outputs]:
            raise InvalidInput(f"layers {missing} are never called by {type(self.network).__name__}")
        return [_normalize(outputs[name]) for name in self.layers]


def perceptual_distance(choice: str | Mapping[str, Any] | nn.Module) -> nn.Module:
    """The perceptual distance of a config's choice: a module (image1, image2) -> (B,).

    Args:
        choice: "lpips"; {"checkpoint": network, "layers": [names]} for `FeatureDistance`; or such a module.

    Raises:
        InvalidInput: `choice` is none of these.

    >>> choice = {"checkpoint": nn.Sequential(nn.Conv2d(1, 8, 3)), "layers": ["0"]}
    >>> perceptual_distance(choice)(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)).tolist()
    [0.0, 0.0]
    """
    if isinstance(choice, nn.Module):
        return _require_two_images(choice)
    if choice == "lpips":
        return LPIPS()
    if isinstance(choice, Mapping) and set(choice) == {"checkpoint", "layers"}:
        if not isinstance(choice["checkpoint"], nn.Module):
            raise InvalidInput(f"perceptual: expected a loaded network as checkpoint, got {choice['checkpoint']!r}")
        layers = choice["layers"]
        return FeatureDistance(choice["checkpoint"], layers if isinstance(layers, str) else _names(layers))
    raise InvalidInput(f'perceptual: expected "lpips" or {{checkpoint: network, layers: [names]}}, got {choice!r}')


def _require_signed_range(image1: Tensor, image2: Tensor) -> None:
    """Raise InvalidInput unless one of two images, as far as one can see, is in [-1, 1]."""
    ranges = [(float(image.min()), float(image.max())) for image in (image1, image2)]
    if any(low >= -1.01 and high <= 1.01 and (low < 0 or low == high) for low, high in ranges):
        return
    found = " and ".join(f"[{low:g}, {high:g}]" for low, high in ranges)
    hint = "are they in [0, 1]?" if all(high <= 1 for _, high in ranges) else "are they bytes?"
    raise InvalidInput(f"LPIPS: expected images in [-1, 1], got values in {found}: {hint}")


def _require_two_images(distance: nn.Module) -> nn.Module:
    """Raise InvalidInput if a module does not take two images."""
    try:
        signature(distance.forward).bind(None, None)
    except TypeError as error:
        name = type(distance).__name__
        raise InvalidInput(
            f"perceptual: {name} does not take two images ({error}); expected {{checkpoint: network, layers: [names]}}"
        ) from error
    return distance


def _check_backbone() -> None:
    """Download VGG16 if need be and read it safely, before torchmetrics loads the same file."""
    url = VGG16_Weights.IMAGENET1K_V1.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]  # vgg16-<first digits of its SHA-256>.pth
    try:
        if not file.is_file():
            download(file, [url], f"sha256:{file.stem.rpartition('-')[2]}")
        torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = unreadable(error) if isinstance(error, pickle.UnpicklingError) else str(error).partition("\n")[0]
        raise UserError(
            f"LPIPS needs the VGG16 weights {file}, which could not be read or downloaded ({reason}): put "
            f"{url} there, or set Loss/perceptual_weight: 0, or compare in the features of a "
            f"classifier of yours with Loss/perceptual: {{checkpoint: …, layers: […]}}"
        ) from error


def _check_layer(network: nn.Module, name: str) -> None:
    """Raise InvalidInput if the network has no layer of this name."""
    names = [known for known, _ in network.named_modules() if known]
    if name not in names:
        raise InvalidInput(f"{type(network).__name__} has no layer {name!r}{hint(name, names)}")


def _names(layers: Any) -> list[str]:
    """Names in a list; InvalidInput if there are none, or other values."""
    if not isinstance(layers, Sequence) or not layers or not all(isinstance(name, str) for name in layers):
        raise InvalidInput(f"layers is {str(layers)[:60]}; expected a list of the names of at least one layer")
    return list(layers)


def _keep(outputs: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Any], None]:
    """A forward hook that stores a copy of the output, which an in-place activation may overwrite."""

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim < 2:
            raise InvalidInput(f"layer {name!r} returns a {type(output).__name__}; expected a tensor (B, C, …)")
        outputs[name] = output.clone()

    return hook


def _normalize(features: Tensor) -> Tensor:
    """Divide by the norm over the channels, at each position: (B, C, …) -> (B, C, positions)."""
    features = features.reshape(*features.shape[:2], -1)
    return features / (features.square().sum(1, keepdim=True) + 1e-8).sqrt()
