"""Checks of batches of images."""

from torch import Tensor

from invariances.errors import InvalidInput


def check_images(x: Tensor, channels: int, size: int | None = None) -> None:
    """Check dtype and shape of a batch of images, (B, channels, H, W), with H = W = size if it is given.

    Raises:
        TypeError: not floating point: integers would be read as values in [-1, 1].
        InvalidInput: another shape.

    >>> import torch
    >>> check_images(torch.zeros(2, 1, 8, 8), channels=3)
    Traceback (most recent call last):
    invariances.errors.InvalidInput: images have shape (2, 1, 8, 8); expected (B, 3, H, W)
    """
    if not x.is_floating_point():
        raise TypeError(f"images are {x.dtype}; expected floats in [-1, 1], use invariances.utils.images.from_uint8")
    expected = (channels, size or "H", size or "W")
    if x.ndim != 4 or x.shape[1] != channels or (size and tuple(x.shape[2:]) != (size, size)):
        raise InvalidInput(f"images have shape {tuple(x.shape)}; expected (B, {', '.join(map(str, expected))})")
