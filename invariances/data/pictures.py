"""Reading of picture files as bytes (3, size, size), for training, metrics and demo alike.

Rules: rotated as the EXIF orientation says; transparency on white; 12- and 16-bit grey scaled to 8 bits; CMYK,
palette and grey converted to RGB; the first frame of an animation; centre square, resized.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import IO

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch.nn import functional

from invariances.errors import InvalidInput
from invariances.utils.arguments import require_at_least
from invariances.utils.files import require_file

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")

_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # modes of grey with more than 8 bits
_BITS_PER_SAMPLE = 258  # tag of a TIFF
# Observed from Pillow on damaged files.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


class BrokenPicture(ValueError):
    """A file cannot be read as a picture; the message has its path and the reason."""


class UnreadPicture(BrokenPicture):
    """The system refused a file for a reason that may pass, such as a permission or a disk that is not mounted."""


def list_pictures(folder: Path) -> list[Path]:
    """All files below `folder` with the ending of a picture, sorted; without hidden ones.

    Links to folders are followed, but each folder is listed once, under its own path if that is below `folder`;
    parents of `folder` never. A dangling link is listed too, so that reading it reports the problem.

    Returns:
        paths; none if the folder does not exist.

    Raises:
        InvalidInput: a folder cannot be listed.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png"):
    ...     (home / name).touch()
    >>> [path.name for path in list_pictures(home)]
    ['a.JPG', 'b.png']
    """
    found: list[Path] = []
    seen = set(folder.resolve().parents)
    waiting = [folder]
    while waiting:
        for parent, folders, files in os.walk(waiting.pop(0), onerror=_refuse_unlisted):
            if Path(parent).resolve() in seen:
                folders.clear()
                continue
            seen.add(Path(parent).resolve())
            folders[:] = sorted(name for name in folders if name[0] != ".")
            waiting += filter(Path.is_symlink, (Path(parent, name) for name in folders))
            found += [Path(parent, name) for name in files if name[0] != "." and name.lower().endswith(ENDINGS)]
    return sorted(found)


def _refuse_unlisted(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise unlisted(error) from error


def unlisted(error: OSError) -> InvalidInput:
    """The error for a folder that cannot be listed: skipping it would shift the numbers of the classes after it."""
    return InvalidInput(
        f"the folder {error.filename} cannot be listed: {error.strerror}. Correct its permissions or remove it"
    )


def load_picture(source: str | Path | BufferedIOBase | IO[bytes]) -> Image.Image:
    """Read a picture as upright RGB with 8 bits per channel.

    Args:
        source: a path, or a file opened for reading bytes.

    Raises:
        UnreadPicture: the file does not exist, or the system refuses to read it.
        BrokenPicture: it is no picture, is truncated, or has pixels without a known white level.
    """
    try:
        if isinstance(source, str | Path):
            require_file(source)
        with Image.open(source) as picture:  # type: ignore[arg-type]  # a BufferedIOBase is read like any file
            picture.load()
            white = _white(picture) if picture.mode in _DEEP else 255  # before rotation, which drops the file's tags
            return _rgb(ImageOps.exif_transpose(picture), white)
    except _DAMAGE as error:
        name = source if isinstance(source, str | Path) else getattr(source, "name", "the file")
        kind = UnreadPicture if getattr(error, "errno", None) else BrokenPicture  # Pillow gives no number
        raise kind(f"{name} cannot be read as a picture: {_reason(error, source)}") from error


def _reason(error: Exception, source: str | Path | BufferedIOBase | IO[bytes]) -> str:
    if _is_empty(source):
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):  # whose text has the address of a file in memory
        return "it has no known format"
    return str(error) or type(error).__name__


def _is_empty(source: str | Path | BufferedIOBase | IO[bytes]) -> bool:
    if isinstance(source, str | Path):
        return os.path.isfile(source) and os.path.getsize(source) == 0
    return source.seek(0, 2) == 0


def _white(picture: Image.Image) -> int:
    """The grey level of white, from the depth that the file states."""
    if picture.mode == "I" and picture.format not in ("PNG", "PPM"):  # in these, Pillow's name for 16 bits
        raise ValueError(
            "its pixels are signed or 32-bit integers, whose white level is unknown; "
            "save it with 8 or 16 bits a channel"
        )
    bits = picture.tag_v2[_BITS_PER_SAMPLE][0] if isinstance(picture, TiffImageFile) else 16
    return 2**bits - 1


def _rgb(picture: Image.Image, white: int) -> Image.Image:
    if picture.mode in _DEEP:
        levels = np.asarray(picture).astype(np.int64)
        picture = Image.fromarray(((levels * 255 + white // 2) // white).astype(np.uint8))
    elif picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits a channel")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


@dataclass(frozen=True)
class Square:
    """Crops the centre square of a picture and resizes it to (3, size, size) bytes, bilinear.

    Args:
        size: of the result in pixels.
        crop: side in pixels of a centre square that the picture is cropped to first, where it is larger.
        antialias: average over all pixels that a smaller pixel covers; else over the four nearest to its centre.

    Raises:
        InvalidInput: a size below 1.

    >>> Square(8)(Image.new("RGB", (30, 20), "white")).shape
    (3, 8, 8)
    """

    size: int
    crop: int | None = None
    antialias: bool = True

    def __post_init__(self) -> None:
        require_at_least(size=(self.size, 1))
        if self.crop is not None:
            require_at_least(crop=(self.crop, 1))

    def __call__(self, picture: Image.Image) -> UInt8[np.ndarray, "3 {self.size} {self.size}"]:
        """Convert an RGB picture to bytes."""
        if self.crop is not None:
            picture = picture.crop(_center_box(picture, self.crop, self.crop))
        side = min(picture.size)
        box = _center_box(picture, side, side)
        if not self.antialias:
            return _interpolate(np.asarray(picture.crop(box)), self.size)
        small = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def _interpolate(pixels: UInt8[np.ndarray, "side side 3"], size: int) -> UInt8[np.ndarray, "3 {size} {size}"]:
    """Resize bilinearly without antialias, which Pillow does not offer."""
    image = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
    small = functional.interpolate(image[None], (size, size), mode="bilinear", align_corners=False)
    return small[0].round().to(torch.uint8).numpy()


def _center_box(picture: Image.Image, width: int, height: int) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of that size, at most the picture's, in the centre of the picture."""
    width, height = min(width, picture.width), min(height, picture.height)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return left, top, left + width, top + height
