"""Where images change representation: floats in [-1, 1] inside the package, bytes in pictures and metrics."""

import math
import warnings
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

NAN_COLOR = (255, 0, 255)  # magenta; in images that are not RGB a NaN is black


def to_uint8(
    images: Float[Tensor, "batch channels height width"],
) -> UInt8[Tensor, "batch channels height width"]:
    """Bytes `round((x + 1) · 127.5)`: −1 → 0, 0 → 128, 1 → 255; what lies outside is clipped.

    A pixel with a NaN in any channel becomes `NAN_COLOR`, and a warning says how many there are.

    Args:
        images: floats in [-1, 1]; they are left as they are.

    Returns:
        bytes of the same shape, on the same device.
    """
    bytes_ = ((images.float() + 1) * 127.5).round().clamp(0, 255)
    broken = images.isnan().any(dim=1, keepdim=True)
    if n_broken := int(broken.sum()):
        warnings.warn(f"{n_broken} of {broken.numel()} pixels are NaN; shown in one colour", stacklevel=2)
        colour = NAN_COLOR if images.shape[1] == 3 else (0,)
        bytes_ = torch.where(broken, bytes_.new_tensor(colour).view(1, -1, 1, 1), bytes_)
    return bytes_.to(torch.uint8)


def from_uint8(
    pixels: UInt8[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Floats `b / 127.5 − 1` in [-1, 1]; `to_uint8` undoes it exactly."""
    return pixels.float() / 127.5 - 1


def channels_first(images: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch channels height width"]:
    """The batch as (B, C, H, W), whether it came so or as (B, H, W, C), with 1 or 3 channels.

    Raises:
        ValueError: neither axis holds 1 or 3 channels.
    """
    if images.shape[1] in (1, 3):
        return images
    if images.shape[3] in (1, 3):
        return images.movedim(3, 1)
    raise ValueError(
        f"images of shape {tuple(images.shape)} have no axis of 1 (grey) or 3 (RGB) channels; "
        "(batch, channels, height, width) is expected"
    )


def grid(
    images: Float[Tensor, "batch _ _ _"], n_columns: int | None = None
) -> UInt8[Tensor, "height width 3"]:
    """One RGB picture that holds all images of a batch, row by row on white.

    Args:
        images: in [-1, 1], grey or RGB, channels first or last.
        n_columns: images per row; as many as make the grid square without it.

    Raises:
        ValueError: the batch is empty or has neither 1 nor 3 channels.
    """
    if len(images) == 0:
        raise ValueError("a grid needs at least 1 image, got an empty batch")
    images = channels_first(images)
    rgb = images.expand(-1, 3, -1, -1)  # before the cast, so that a NaN shows its colour in grey images too
    n_columns = n_columns or math.ceil(math.sqrt(len(images)))
    return make_grid(to_uint8(rgb), nrow=n_columns, padding=2, pad_value=255).permute(1, 2, 0)


def save_png(path: Path, pixels: UInt8[Tensor, "height width 3"]) -> None:
    """Save a picture, such as a `grid`."""
    Image.fromarray(pixels.cpu().numpy()).save(path, format="PNG")
