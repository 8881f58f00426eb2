"""Classifiers: those of the published experiments, and a small one for digits."""

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from invariances.flows.layers.actnorm import register_actnorms
from invariances.flows.released import load_released
from invariances.models.autoencoder import Encoder
from invariances.models.blocks import Norm, initialize
from invariances.models.checks import check_images
from invariances.models.pretrained import Preprocess
from invariances.models.released_names import released_names
from invariances.utils.arguments import require_at_least


class Classifier(nn.Module):
    """The encoder of `Autoencoder` with a linear classifier on its output (CVPR 2020).

    Args:
        in_channels, in_size: images are (B, in_channels, in_size, in_size) in [-1, 1].
        n_down: number of stride-2 convolutions; in_size must be a multiple of 2^n_down.
        z_dim: channels of the representation.
        n_classes: number of logits.
        norm: "an" (ActNorm), "bn" (BatchNorm) or "none".
        width: channels at the finest scale.

    Raises:
        InvalidInput: in_size is no multiple of 2^n_down; images of another size or number of channels.
        TypeError: images that are not floating point.

    Source: Esser, Rombach and Ommer 2020, A disentangling invertible interpretation network (released code).

    Example:
        >>> import torch
        >>> classifier = Classifier(in_channels=3, in_size=32, n_down=4, z_dim=64, n_classes=10, norm="bn")
        >>> classifier(torch.rand(2, 3, 32, 32) * 2 - 1).shape
        torch.Size([2, 10])
        >>> classifier.encode(torch.rand(2, 3, 32, 32) * 2 - 1).shape
        torch.Size([2, 64, 1, 1])
    """

    def __init__(
        self,
        in_channels: int,
        in_size: int,
        n_down: int,
        z_dim: int,
        n_classes: int,
        norm: Norm = "an",
        width: int = 64,
    ) -> None:
        super().__init__()
        require_at_least(in_channels=(in_channels, 1), z_dim=(z_dim, 1), n_classes=(n_classes, 1), width=(width, 1))
        self.in_channels, self.in_size, self.z_dim = in_channels, in_size, z_dim
        self.encoder = Encoder(in_channels, in_size, n_down, z_dim, norm, width)
        self.classifier = nn.Linear(z_dim, n_classes)
        self.apply(initialize)
        register_actnorms(self)

    def encode(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch z_dim 1 1"]:
        """Encode images in [-1, 1] to representations, any real values."""
        check_images(x, self.in_channels, self.in_size)
        return self.encoder(x)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Compute the logits of images in [-1, 1]."""
        return self.classifier(self.encode(x).flatten(1))

    def load_released(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of a released classifier, strictly.

        Raises:
            InvalidInput: names are missing, unknown or of another shape.
        """
        load_released(self, state_dict, released_names())


class DigitClassifier(nn.Module):
    """A small convolutional network for 32-pixel digits, with layers at several depths to study.

    Its layers are `conv1`, `conv2`, `conv3` (stride 2, BatchNorm, ReLU; 16², 8², 4² positions with 1, 2, 4 times
    `width` channels), `penultimate` (64 channels) and `logits`.

    Args:
        in_channels: images are (B, in_channels, 32, 32) in [-1, 1].
        n_classes: number of logits.
        width: channels of the first layer.

    Raises:
        InvalidInput: images of another size or number of channels.
        TypeError: images that are not floating point.

    Example:
        >>> import torch
        >>> DigitClassifier()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    in_size = 32

    def __init__(self, in_channels: int = 3, n_classes: int = 10, width: int = 32) -> None:
        super().__init__()
        require_at_least(in_channels=(in_channels, 1), n_classes=(n_classes, 1), width=(width, 1))
        self.in_channels = in_channels
        self.conv1 = _half(in_channels, width)
        self.conv2 = _half(width, 2 * width)
        self.conv3 = _half(2 * width, 4 * width)
        self.penultimate = nn.Sequential(nn.Flatten(), nn.Linear(4 * width * 4 * 4, 64), nn.ReLU())
        self.logits = nn.Linear(64, n_classes)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Compute the logits of images in [-1, 1]."""
        check_images(x, self.in_channels, self.in_size)
        return self.logits(self.penultimate(self.conv3(self.conv2(self.conv1(x)))))


class _OwnPreprocess(Preprocess):
    """Preprocessing that the class of a network fixes, so that it is no part of the network's state dict."""

    get_extra_state = nn.Module.get_extra_state
    set_extra_state = nn.Module.set_extra_state


class ResNetClassifier(ResNet):
    """A ResNet for images in [-1, 1], which it resizes to 224 pixels and normalises itself (ECCV 2020).

    Its layers and weights have the names of torchvision's; `input` is the normalised image, (B, 3, 224, 224).

    Args:
        n_classes: number of logits.
        type: which of the ResNets.

    Source: Rombach, Esser and Ommer 2020, Making sense of CNNs (released code), on He et al. 2016.

    Example:
        >>> import torch
        >>> ResNetClassifier(n_classes=10, type="resnet50").eval()(torch.zeros(1, 3, 128, 128)).shape
        torch.Size([1, 10])
    """

    in_size, in_channels = 224, 3

    def __init__(self, n_classes: int = 1000, type: Literal["resnet50", "resnet101"] = "resnet101") -> None:
        require_at_least(n_classes=(n_classes, 1))
        super().__init__(Bottleneck, [3, 4, {"resnet50": 6, "resnet101": 23}[type], 3], num_classes=n_classes)
        self.input = _OwnPreprocess(self.in_size)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Compute the logits of images in [-1, 1], of any size."""
        return super().forward(self.input(x))


def _half(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())
