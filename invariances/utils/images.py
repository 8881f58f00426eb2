"""Conversion between images as floats in [-1, 1], used inside the package, and as bytes, used in files and metrics."""

import math
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from invariances.errors import InvalidInput
from invariances.utils.files import atomic_write

NAN_COLOR = (255, 0, 255)  # magenta; in images that are not RGB a NaN is black


def to_uint8(
    images: Float[Tensor, "batch channels height width"],
) -> UInt8[Tensor, "batch channels height width"]:
    """Convert floats to bytes: `round((x + 1) · 127.5)`, so −1 → 0, 0 → 128, 1 → 255; values outside are clipped.

    A pixel with a NaN in any channel becomes `NAN_COLOR`, with a warning that counts them.

    Args:
        images: floats in [-1, 1]; not modified.

    Returns:
        bytes of the same shape, on the same device.

    >>> to_uint8(torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)).flatten().tolist()
    [0, 128, 255]
    """
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255)
    is_nan = images.isnan().any(dim=1, keepdim=True)
    if n_nan := int(is_nan.sum()):
        warnings.warn(f"{n_nan} of {is_nan.numel()} pixels are NaN; shown in one colour", stacklevel=2)
        color = NAN_COLOR if images.shape[1] == 3 else (0,)
        pixels = torch.where(is_nan, pixels.new_tensor(color).view(1, -1, 1, 1), pixels)
    return pixels.to(torch.uint8)


def from_uint8(
    pixels: UInt8[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Convert bytes to floats: `b / 127.5 − 1`, in [-1, 1]; `to_uint8` inverts it exactly."""
    return pixels.float() / 127.5 - 1


def channels_first(images: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch channels height width"]:
    """Bring a batch of 1 or 3 channels, (B, C, H, W) or (B, H, W, C), to (B, C, H, W).

    Raises:
        InvalidInput: neither axis has 1 or 3 channels.

    >>> channels_first(torch.zeros(2, 8, 9, 3)).shape
    torch.Size([2, 3, 8, 9])
    """
    if images.shape[1] in (1, 3):
        return images
    if images.shape[3] in (1, 3):
        return images.movedim(3, 1)
    raise InvalidInput(
        f"expected images (batch, channels, height, width) of 1 (grey) or 3 (RGB) channels, "
        f"got shape {tuple(images.shape)}"
    )


def grid(
    images: Float[Tensor, "batch _ _ _"], n_columns: int | None = None
) -> UInt8[Tensor, "height width 3"]:
    """Arrange a batch of images in one RGB picture, row by row on white.

    Args:
        images: in [-1, 1], grey or RGB, channels first or last.
        n_columns: images per row; if `None`, as many as make the grid square.

    Raises:
        InvalidInput: the batch is empty or has neither 1 nor 3 channels.

    >>> grid(torch.zeros(4, 1, 8, 8)).shape  # 2 pixels of margin around each image
    torch.Size([22, 22, 3])
    """
    if len(images) == 0:
        raise InvalidInput("expected at least 1 image for a grid, got an empty batch")
    images = channels_first(images)
    rgb = images.expand(-1, 3, -1, -1)  # before the cast, so that a NaN shows its colour in grey images too
    n_columns = n_columns or math.ceil(math.sqrt(len(images)))
    return make_grid(to_uint8(rgb), nrow=n_columns, padding=2, pad_value=255).permute(1, 2, 0)


def save_png(path: Path, pixels: UInt8[Tensor, "height width 3"]) -> None:
    """Save a picture, such as a `grid`, as a PNG file, completely or not at all."""
    with atomic_write(path) as part:
        Image.fromarray(pixels.cpu().numpy()).save(part, format="PNG")


def stack_pictures(pictures: UInt8[np.ndarray, "batch channels height width"]) -> UInt8[np.ndarray, "rows width _"]:
    """One picture below another on white, with a gap of a twelfth of their height.

    Returns:
        bytes, channels last.

    >>> stack_pictures(np.zeros((3, 1, 24, 20), np.uint8)).shape
    (76, 20, 1)
    """
    height = pictures.shape[2]
    gap = max(1, height // 12)
    padded = np.pad(pictures, [(0, 0), (0, 0), (0, gap), (0, 0)], constant_values=255)
    return np.concatenate(list(padded.transpose(0, 2, 3, 1)))[:-gap]
