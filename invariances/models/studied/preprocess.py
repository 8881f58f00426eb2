"""From images in [-1, 1] to the input of a network."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from invariances.errors import InvalidInput
from invariances.utils.arguments import require_at_least

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Interpolation = Literal["nearest", "bilinear", "bicubic"]


class Preprocess(nn.Module):
    """Resize, crop and normalise images in [-1, 1] for a classifier of photographs: ((x + 1)/2 − mean)/std.

    Without `resize` an image of any aspect ratio is resized to `size`. With it, the image's shorter side becomes
    `resize` pixels, and the centre of `size` is cut out. The settings are part of the state dict, and loading one
    restores them.

    Args:
        size: side of the output in pixels, or [height, width]; null for the image's own.
        mean, std: of the training set in [0, 1], one value per channel, or one for all; by default ImageNet's.
        resize: shorter side of the image in pixels before the crop; null for no crop.
        interpolation: nearest, bilinear or bicubic, with half-pixel centres.
        antialias: whether images are smoothed before they become smaller, as Pillow does.

    Raises:
        InvalidInput: settings out of range, or that contradict each other.

    Example:
        >>> import torch
        >>> grey = torch.zeros(1, 3, 128, 128)
        >>> Preprocess(224)(grey)[0, :, 0, 0]
        tensor([0.0655, 0.1964, 0.4178])
        >>> Preprocess([64, 32], resize=70)(grey).shape
        torch.Size([1, 3, 64, 32])
    """

    def __init__(
        self,
        size: int | Sequence[int] | None,
        mean: float | Sequence[float] = IMAGENET_MEAN,
        std: float | Sequence[float] = IMAGENET_STD,
        resize: int | None = None,
        interpolation: Interpolation = "bilinear",
        antialias: bool = False,
    ) -> None:
        super().__init__()
        self._set(size=size, mean=mean, std=std, resize=resize, interpolation=interpolation, antialias=antialias)

    def _set(
        self,
        size: int | Sequence[int] | None,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        resize: int | None,
        interpolation: Interpolation,
        antialias: bool,
    ) -> None:
        mean, std = _values(mean), _values(std)
        _check(size, mean, std, resize, interpolation)
        self.size = size if size is None or isinstance(size, int) else (size[0], size[1])
        self.mean, self.std = mean, std
        self.resize, self.interpolation, self.antialias = resize, interpolation, bool(antialias)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as plain values."""
        size = list(self.size) if isinstance(self.size, tuple) else self.size
        statistics = {"mean": list(self.mean), "std": list(self.std)}
        resampling = {"interpolation": self.interpolation, "antialias": self.antialias}
        return {"size": size, "resize": self.resize, **resampling, **statistics}

    def get_extra_state(self) -> dict[str, Any]:
        """The settings, for the state dict."""
        return self.settings

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take over the settings of a state dict."""
        self._set(**state)

    def extra_repr(self) -> str:
        """The settings, which fingerprints of the network depend on."""
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels out_height out_width"]:
        """Preprocess images (B, C, H, W) in [-1, 1] to (B, C, *size), normalised."""
        x = x if self.size is None else self._crop(self._resized(x))
        mean, std = (x.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return ((x + 1) / 2 - mean) / std

    @property
    def _sides(self) -> tuple[int, int]:
        """Height and width of the output."""
        assert self.size is not None
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def _resized(self, x: Tensor) -> Tensor:
        sides = self._sides
        if self.resize is not None:
            height, width = x.shape[2:]
            shorter = min(height, width)
            sides = int(self.resize * height / shorter), int(self.resize * width / shorter)
        if self.interpolation == "nearest":
            return functional.interpolate(x, sides, mode="nearest-exact")
        x = functional.interpolate(x, sides, mode=self.interpolation, align_corners=False, antialias=self.antialias)
        return x.clamp(-1, 1) if self.interpolation == "bicubic" else x  # it overshoots at edges

    def _crop(self, x: Tensor) -> Tensor:
        (height, width), (out_height, out_width) = x.shape[2:], self._sides
        top, left = round((height - out_height) / 2), round((width - out_width) / 2)
        return x[:, :, top : top + out_height, left : left + out_width]


def _values(given: float | Sequence[float]) -> tuple[float, ...]:
    """A value for each channel, or one for all.

    >>> _values(0.5), _values([0.25, 0.5])
    ((0.5,), (0.25, 0.5))
    """
    return (float(given),) if isinstance(given, int | float) else tuple(map(float, given))


def _check(
    size: int | Sequence[int] | None,
    mean: Sequence[float],
    std: Sequence[float],
    resize: int | None,
    interpolation: str,
) -> None:
    sides = [] if size is None else [size] if isinstance(size, int) else list(size)
    if len(sides) > 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InvalidInput(f"size is {size}; expected pixels as one number, or [height, width]")
    if resize is not None:
        require_at_least(resize=(resize, max(sides, default=1)))
    if len(mean) != len(std) or not mean or not all(value > 0 for value in std):
        raise InvalidInput(
            f"mean is {list(mean)} and std {list(std)}; expected a value for each channel, with std above 0"
        )
    if interpolation not in ("nearest", "bilinear", "bicubic"):
        raise InvalidInput(f"interpolation is {interpolation!r}; expected nearest, bilinear or bicubic")
