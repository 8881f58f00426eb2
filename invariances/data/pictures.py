"""Any picture a person has, as bytes (3, size, size): the one way in for training, metrics and demo.

Rules: turned upright by its EXIF mark; transparency laid on white; 12- and 16-bit grey scaled to 8 bits;
CMYK, palette and grey turned into RGB; of an animation the first frame; short side resized, middle kept.
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
from PIL.TiffImagePlugin import TiffImageFile

from invariances.data.base import require_size
from invariances.utils.files import require_file

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")

_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # modes of grey with more than 8 bits
_BITS_PER_SAMPLE = 258  # tag of a TIFF
# What Pillow is seen to raise on damaged files.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


class BrokenPicture(ValueError):
    """A file that cannot be read as a picture; the message has its path and the reason."""


class UnreadPicture(BrokenPicture):
    """A file that the system did not give out, for a reason that may pass: no permission, a disk that is away."""


def list_pictures(folder: Path) -> list[Path]:
    """Every file below `folder` with the ending of a picture, sorted; nothing hidden. None if it is not there.

    Links to folders are followed, but each folder counts once, under its own path if that is below `folder`;
    those above never. A link that leads nowhere is listed too, so that reading it tells.

    Raises:
        ValueError: a folder cannot be listed.
    """
    found: list[Path] = []
    seen = set(folder.resolve().parents)
    waiting = [folder]
    while waiting:
        for place, folders, files in os.walk(waiting.pop(0), onerror=_refuse_unlisted):
            if Path(place).resolve() in seen:
                folders.clear()
                continue
            seen.add(Path(place).resolve())
            folders[:] = sorted(name for name in folders if name[0] != ".")
            waiting += filter(Path.is_symlink, (Path(place, name) for name in folders))
            found += [Path(place, name) for name in files if name[0] != "." and name.lower().endswith(ENDINGS)]
    return sorted(found)


def _refuse_unlisted(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise unlisted(error) from error


def unlisted(error: OSError) -> ValueError:
    """What tells of a folder that cannot be listed: passed over, it would shift the numbers of the classes after it."""
    return ValueError(f"the folder {error.filename} cannot be listed: {error.strerror}. Mend or remove it")


def load_picture(source: str | Path | BufferedIOBase | IO[bytes]) -> Image.Image:
    """An upright RGB picture of 8 bits a channel from a file.

    Raises:
        UnreadPicture: the file is missing, or the system does not give it out.
        BrokenPicture: it is no picture, cut off, or of a kind that has no plain meaning.
    """
    try:
        if isinstance(source, str | Path):
            require_file(source)
        with Image.open(source) as picture:  # type: ignore[arg-type]  # a BufferedIOBase is read like any file
            picture.load()
            white = _white(picture) if picture.mode in _DEEP else 255  # a turned one no longer knows its file
            return _rgb(ImageOps.exif_transpose(picture), white)
    except _DAMAGE as error:
        name = source if isinstance(source, str | Path) else getattr(source, "name", "the picture")
        reason = "it is empty" if _is_empty(source) else str(error) or type(error).__name__
        kind = UnreadPicture if getattr(error, "errno", None) else BrokenPicture  # Pillow gives no number
        raise kind(f"{name} cannot be read as a picture: {reason}") from error


def _is_empty(source: str | Path | BufferedIOBase | IO[bytes]) -> bool:
    if isinstance(source, str | Path):
        return os.path.isfile(source) and os.path.getsize(source) == 0
    return source.seek(0, 2) == 0


def _white(picture: Image.Image) -> int:
    """The grey level that is white, by the depth that the file states."""
    if picture.mode == "I" and picture.format not in ("PNG", "PPM"):  # in these, Pillow's name for 16 bits
        raise ValueError(
            "its pixels are signed or 32-bit integers, none of which is known to be white; "
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
        require_size(self.size)
        if self.crop is not None:
            require_size(self.crop, "crop")

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
