"""Pictures decoded once, to the size that training wants, in a memory-mapped file of bytes.

The file is named after everything it depends on: paths, sizes and times of the pictures, and the transform.
It grows by appending under another name and is renamed when whole. So a build that is interrupted goes on
where it stopped, and a file that is there is right. A folder of the cache may be deleted at any time.
"""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from invariances.data.base import ImageSet, Labels
from invariances.data.memmap import MemmapImages
from invariances.data.pictures import BrokenPicture, Square, UnreadPicture, load_picture
from invariances.utils.files import atomic_write, cache_root, locked, n_cpus

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]

_CHUNK = 256  # pictures that a process decodes at a time
_LISTED = 10  # broken files that a message names
_VERSION = 2  # of the meaning of the bytes


@dataclass(frozen=True)
class PictureFiles:
    """The pictures of a data set, yet to be decoded.

    Args:
        name: for people.
        paths: of the files.
        labels: name -> (N,), int64.
        boxes: (left, top, right, bottom) of the part that counts, (N, 4); the whole if `None`.
    """

    name: str
    paths: list[str]
    labels: Labels
    boxes: Int64[np.ndarray, "n 4"] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Int64[np.ndarray, " kept"]) -> "PictureFiles":
        """Those at `rows`."""
        return replace(
            self,
            paths=[self.paths[row] for row in rows],
            labels={name: values[torch.from_numpy(rows)] for name, values in self.labels.items()},
            boxes=None if self.boxes is None else self.boxes[rows],
        )

    def decode(self, row: int, square: Square) -> np.ndarray:
        """One picture as (3, size, size) bytes.

        Raises:
            BrokenPicture: it cannot be read, or its box reaches beyond it.
        """
        picture = load_picture(self.paths[row])
        if self.boxes is None:
            return square(picture)
        left, top, right, bottom = box = self.boxes[row].tolist()
        if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
            raise BrokenPicture(
                f"{self.paths[row]} has size {picture.size}, which does not hold the box {box}"
            )
        return square(picture.crop(box))


class PictureSet(ImageSet):
    """Pictures as a data set: `image` (3, size, size), float32 in [-1, 1), and every label.

    Args:
        pictures: which, and their labels.
        square: how they become square.
        on_error: broken files stop it ("raise") or are left out ("skip"), the same ones in every run.
        seed: of the dequantisation noise; `None` fixes it.
        root: folder of all data; the cache is in it.

    Attributes:
        files: path of each example.
        skipped: what is wrong with each file that was left out.

    Raises:
        BrokenPicture: by full path, if `on_error` is "raise"; or no picture is left.
    """

    def __init__(
        self, pictures: PictureFiles, square: Square, on_error: OnError, seed: int | None, root: str | Path | None
    ) -> None:
        images, kept, self.skipped = cached(pictures, square, on_error, root)
        self.files = kept.paths
        super().__init__(images, kept.labels, seed)


def cached(
    pictures: PictureFiles, square: Square, on_error: OnError = "raise", root: str | Path | None = None
) -> tuple[MemmapImages, PictureFiles, list[str]]:
    """Images of those pictures that can be read, these pictures, and what is wrong with the others.

    Raises:
        ValueError: `on_error` is neither "raise" nor "skip"; the disk is too small.
        BrokenPicture: see `PictureSet`.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error is {on_error!r}; "raise" or "skip" is expected')
    folder = cache_root(root) / f"{pictures.name}-{square.size}-{_key(pictures, square)}"
    if _is_whole(folder):
        _try_unread(folder, pictures, square)
    else:
        with locked(folder):
            if not _is_whole(folder):
                _build(folder, pictures, square)
    index = _read_index(folder)
    reasons = index["broken"] | index["unread"]
    broken = {row: reasons[str(row)] for row in sorted(map(int, reasons))}
    _report(pictures, broken, on_error, folder)
    images = MemmapImages(folder / "images.u8", tuple(index["shape"]))
    if not broken:
        return images, pictures, []
    rows = np.setdiff1d(np.arange(len(pictures)), list(broken))
    return replace(images, rows=rows), pictures.take(rows), list(broken.values())


def _report(pictures: PictureFiles, broken: dict[int, str], on_error: OnError, folder: Path) -> None:
    """Tell of broken files once, by full path."""
    if not broken:
        return
    listed = "; ".join(list(broken.values())[:_LISTED])
    more = f"; and {len(broken) - _LISTED} more, in {folder / 'index.json'}" if len(broken) > _LISTED else ""
    message = f"{len(broken)} of {len(pictures)} pictures of {pictures.name} are broken: {listed}{more}"
    if on_error == "raise" or len(broken) == len(pictures):
        raise BrokenPicture(f'{message}. Mend or remove them, or leave them out by on_error "skip"')
    logger.warning("%s. They are left out", message)


def _key(pictures: PictureFiles, square: Square) -> str:
    """A name for everything that the bytes depend on."""
    digest = hashlib.sha256(f"{_VERSION} {square}".encode())
    for path in pictures.paths:
        digest.update(f"{os.path.abspath(path)} {_state(path)}\n".encode(errors="surrogateescape"))
    if pictures.boxes is not None:
        digest.update(pictures.boxes.tobytes())
    return digest.hexdigest()[:12]


def _state(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:  # a link that leads nowhere
        return type(error).__name__
    return f"{status.st_size} {status.st_mtime_ns}"


def _is_whole(folder: Path) -> bool:
    """The index is written last; its file of images must still have the size it states."""
    images, index = folder / "images.u8", folder / "index.json"
    if not (index.exists() and images.exists()):
        return False
    return images.stat().st_size == math.prod(_read_index(folder)["shape"])


def _build(folder: Path, pictures: PictureFiles, square: Square) -> None:
    """Decode all pictures in several processes, going on behind the chunks that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(pictures), 3, square.size, square.size)
    part, chunk_bytes = folder / "images.part", _CHUNK * 3 * square.size**2
    n_done = part.stat().st_size // chunk_bytes if part.exists() else 0
    _require_space(folder, math.prod(shape) - n_done * chunk_bytes)
    with open(part, "ab") as images:
        images.truncate(n_done * chunk_bytes)
        for chunk in _decoded(pictures, square, n_done):
            images.write(chunk.numpy().data)
        images.flush()
        os.fsync(images.fileno())
    index = {"name": pictures.name, "shape": shape, "broken": {}}
    _attempt(part, index, _black(np.memmap(part, np.uint8, mode="r", shape=shape)), pictures, square)
    os.replace(part, folder / "images.u8")
    _write_index(folder, index)


def _try_unread(folder: Path, pictures: PictureFiles, square: Square) -> None:
    """Fill in what the system gives out now and did not before."""
    index = _read_index(folder)
    if index["unread"]:
        with locked(folder):
            _attempt(folder / "images.u8", index, map(int, index["unread"]), pictures, square)
            _write_index(folder, index)


def _read_index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "index.json").read_text())


def _write_index(folder: Path, index: dict[str, Any]) -> None:
    with atomic_write(folder / "index.json") as file:
        file.write_text(json.dumps(index, indent=1))


def _require_space(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise ValueError(
            f"the cache {folder} needs {n_bytes / 1e9:.1f} GB more and its disk has {free / 1e9:.1f} GB; "
            "free some, or set INVARIANCES_DATA to a larger disk"
        )


def _decoded(pictures: PictureFiles, square: Square, n_done: int) -> Iterator[Tensor]:
    """Chunks of bytes in order, behind the first n_done."""
    chunks = _Chunks(pictures, square)
    n_left = len(chunks) - n_done
    n_workers = min(n_cpus(), n_left) if n_left > 1 else 0
    order = range(n_done, len(chunks))
    loader: DataLoader[Any] = DataLoader(chunks, batch_size=None, sampler=order, num_workers=n_workers)
    title = f"Preparing {pictures.name}, once"
    with tqdm(desc=title, total=len(pictures), initial=n_done * _CHUNK, unit=" pictures") as bar:
        for chunk in loader:
            yield chunk
            bar.update(len(chunk))


class _Chunks(Dataset):
    """Runs of consecutive pictures, decoded; a broken one stays all zeros."""

    def __init__(self, pictures: PictureFiles, square: Square) -> None:
        self.pictures, self.square = pictures, square

    def __len__(self) -> int:
        return -(-len(self.pictures) // _CHUNK)

    def __getitem__(self, chunk: int) -> np.ndarray:
        rows = range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(self.pictures)))
        images = np.zeros((len(rows), 3, self.square.size, self.square.size), dtype=np.uint8)
        for image, row in zip(images, rows, strict=True):
            with suppress(BrokenPicture):
                image[:] = self.pictures.decode(row, self.square)
        return images


def _black(images: np.ndarray) -> list[int]:
    """The rows of zeros: pictures that were not decoded, or are black."""
    return [row for row, image in enumerate(images) if not image.any()]


def _attempt(images: Path, index: dict[str, Any], rows: Iterable[int], pictures: PictureFiles, square: Square) -> None:
    """Decode rows once more into their file, and let the index state row -> reason of those that failed.

    What is broken stays so; what the system did not give out is `unread`, and tried again by every run.
    """
    places = np.memmap(images, np.uint8, mode="r+", shape=tuple(index["shape"]))
    index["unread"] = {}
    for row in rows:
        try:
            places[row] = pictures.decode(row, square)
        except BrokenPicture as error:
            index["unread" if isinstance(error, UnreadPicture) else "broken"][str(row)] = str(error)
    places.flush()
