"""What a batch of images must be."""

from torch import Tensor


def check_images(x: Tensor, channels: int, size: int | None = None) -> None:
    """Refuse what is no batch of floating-point images with so many channels and, if given, of this size.

    Raises:
        TypeError: bytes or other integers, which would be taken for values in [-1, 1].
        ValueError: another shape.
    """
    if not x.is_floating_point():
        raise TypeError(f"images are {x.dtype}; expected floats in [-1, 1], see invariances.utils.images.from_uint8")
    expected = (channels, size or "H", size or "W")
    if x.ndim != 4 or x.shape[1] != channels or (size and tuple(x.shape[2:]) != (size, size)):
        raise ValueError(f"images have shape {tuple(x.shape)}; expected (B, {', '.join(map(str, expected))})")
