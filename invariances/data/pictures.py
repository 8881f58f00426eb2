"""Any picture a person has, as bytes (3, size, size): the one way in for training, metrics and demo.

Rules: turned upright by its EXIF mark; transparency laid on white; 16-bit grey scaled to 8 bits; CMYK,
palette and grey turned into RGB; of an animation the first frame; short side resized, middle kept.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")

_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# What Pillow is seen to raise on damaged files.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


class BrokenPicture(ValueError):
    """A file that cannot be read as a picture; the message has its path and the reason."""


def list_pictures(folder: Path) -> list[Path]:
    """Every file below `folder` with the ending of a picture, sorted; nothing hidden.

    A link that leads nowhere is listed too, so that reading it tells.
    """
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "." and not _leads_up(Path(place, name))]
        found += [Path(place, name) for name in files if name[0] != "." and name.lower().endswith(ENDINGS)]
    return sorted(found)


def _leads_up(path: Path) -> bool:
    """Whether a link leads to a folder that it lies in, so that following it would never end."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def load_picture(source: str | Path | BufferedIOBase | IO[bytes]) -> Image.Image:
    """An upright RGB picture of 8 bits a channel from a file.

    Raises:
        BrokenPicture: the file is missing, no picture, cut off, or of a kind that has no plain meaning.
    """
    try:
        with Image.open(source) as picture:  # type: ignore[arg-type]  # a BufferedIOBase is read like any file
            picture.load()
            return _rgb(ImageOps.exif_transpose(picture))
    except _DAMAGE as error:
        name = source if isinstance(source, str | Path) else getattr(source, "name", "the picture")
        reason = "it is empty" if _is_empty(source) else str(error) or type(error).__name__
        raise BrokenPicture(f"{name} cannot be read as a picture: {reason}") from error


def _is_empty(source: str | Path | BufferedIOBase | IO[bytes]) -> bool:
    if isinstance(source, str | Path):
        return Path(source).is_file() and Path(source).stat().st_size == 0
    return source.seek(0, 2) == 0


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in _SIXTEEN_BITS:
        picture = _eight_bits(picture)
    elif picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits a channel")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey levels 0 … 65,535 as 0 … 255."""
    levels = np.asarray(picture).astype(np.int64)
    if levels.min() < 0 or levels.max() > 65535:
        raise ValueError(f"its grey levels go from {levels.min()} to {levels.max()}; 0 to 65535 are read")
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))


@dataclass(frozen=True)
class Square:
    """Turns a picture into (3, size, size) bytes: its short side is resized, its middle kept.

    The filter is bilinear with antialias. Small pictures are enlarged.

    Args:
        size: of the result in pixels.
        crop: width and height of the middle that is kept before that, where the picture is larger.

    Raises:
        ValueError: a size below 1.
    """

    size: int
    crop: int | None = None

    def __post_init__(self) -> None:
        if self.size < 1 or (self.crop is not None and self.crop < 1):
            raise ValueError(f"size {self.size} and crop {self.crop} are wanted to be 1 pixel or more")

    def __call__(self, picture: Image.Image) -> UInt8[np.ndarray, "3 {self.size} {self.size}"]:
        """The bytes of an RGB picture."""
        if self.crop is not None:
            picture = picture.crop(_middle(picture, self.crop, self.crop))
        side = min(picture.size)
        small = picture.resize(
            (self.size, self.size), Image.Resampling.BILINEAR, box=_middle(picture, side, side)
        )
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def _middle(picture: Image.Image, width: int, height: int) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of that size, or the picture's, in the middle of it."""
    width, height = min(width, picture.width), min(height, picture.height)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return left, top, left + width, top + height
