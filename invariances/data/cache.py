"""Pictures decoded once, to the size used in training, into a memory-mapped file of bytes.

A folder of the cache is named after everything its content depends on: paths, sizes and modification times of the
pictures, and the transform. It holds `images.u8`, the bytes (N, 3, size, size), and `index.json`, their shape and the
failures. A build appends to `images.part` and `failures.part` and renames when it is complete, so that an interrupted
build continues where it stopped, and a complete file is correct. The folder may be deleted at any time.
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from invariances.data.augmentation import random_crop, random_flip
from invariances.data.base import Batch, ImageSet, Labels, dequantize
from invariances.data.memmap import MemmapImages
from invariances.data.pictures import BrokenPicture, Square, UnreadPicture, load_picture
from invariances.data.random_streams import RandomStreams
from invariances.errors import InvalidInput
from invariances.utils.arguments import require_at_least
from invariances.utils.files import atomic_write, cache_root, locked, n_cpus, require_space

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]

_CHUNK = 256  # pictures that a process decodes at a time
_LISTED = 10  # broken files that a message names
_VERSION = 3  # of the files in a cache folder


@dataclass(frozen=True)
class PictureFiles:
    """The files of a picture data set, before decoding.

    Args:
        name: of the data set, for messages and the cache folder.
        paths: of the files, N of them.
        labels: name -> (N,), int64.
        boxes: (left, top, right, bottom) of the part to cut out, (N, 4), in pixels; the whole picture if `None`.
    """

    name: str
    paths: list[str]
    labels: Labels
    boxes: Int64[np.ndarray, "n 4"] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Int64[np.ndarray, " kept"]) -> "PictureFiles":
        """The files at `rows`, with their labels and boxes.

        >>> files = PictureFiles("pets", ["cat.png", "dog.png"], {"class": torch.tensor([0, 1])})
        >>> files.take(np.array([1])).paths
        ['dog.png']
        """
        return replace(
            self,
            paths=[self.paths[row] for row in rows],
            labels={name: values[torch.from_numpy(rows)] for name, values in self.labels.items()},
            boxes=None if self.boxes is None else self.boxes[rows],
        )

    def decode(self, row: int, square: Square) -> UInt8[np.ndarray, "3 {square.size} {square.size}"]:
        """Decode one picture.

        Raises:
            BrokenPicture: the file cannot be read, or its box reaches beyond the picture.
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


class Failure(NamedTuple):
    """A picture that was not decoded.

    Args:
        row: its index in the data set.
        kind: "broken" for good; "unread" if the system refused the file, which every run tries again.
        reason: with the full path.
    """

    row: int
    kind: Literal["broken", "unread"]
    reason: str


class PictureSet(ImageSet):
    """Pictures as a data set: `image` (3, size, size), float32 in [-1, 1), and every label.

    Args:
        pictures: the files and their labels.
        square: the transform to (3, size, size).
        on_error: broken files raise an error ("raise") or are left out ("skip"), the same ones in every run.
        seed: of all that is random in an example; `None` fixes it.
        root: data folder, which holds the cache; $INVARIANCES_DATA or the user's cache folder if `None`.
        margin: pixels by which a picture is larger than the square that is cut out of it at random.
        flip: mirror half of the images at random, left to right.

    Attributes:
        files: path of each example.
        skipped: reason for each file that was left out.

    Raises:
        BrokenPicture: names the broken files, if `on_error` is "raise" or no picture is left.
        InvalidInput: a negative margin.
    """

    def __init__(
        self,
        pictures: PictureFiles,
        square: Square,
        on_error: OnError,
        seed: int | None,
        root: str | Path | None,
        margin: int = 0,
        flip: bool = False,
    ) -> None:
        require_at_least(margin=(margin, 0))
        larger = replace(square, size=square.size + margin)
        images, kept, self.skipped = cached(pictures, larger, on_error, root)
        self.files, self.margin, self.flip = kept.paths, margin, flip
        super().__init__(images, kept.labels, seed)

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """Crop, mirror and dequantise the images."""
        pixels = self.images[index]
        if self.margin:
            pixels = random_crop(pixels, self.margin, streams)
        if self.flip:
            pixels = random_flip(pixels, streams)
        return {"image": dequantize(pixels, streams), **self.labels_at(index)}


def cached(
    pictures: PictureFiles, square: Square, on_error: OnError = "raise", root: str | Path | None = None
) -> tuple[MemmapImages, PictureFiles, list[str]]:
    """Decode pictures, or read them from the cache.

    Returns:
        The images that could be decoded, their files, and the reason for each of the others.

    Raises:
        InvalidInput: `on_error` is neither "raise" nor "skip"; the disk is too small.
        BrokenPicture: see `PictureSet`.
    """
    if on_error not in ("raise", "skip"):
        raise InvalidInput(f'on_error is {on_error!r}; expected "raise" or "skip"')
    folder = cache_root(root) / f"{pictures.name}-{square.size}-{_key(pictures, square)}"
    if not _is_complete(folder):
        with locked(folder):
            if not _is_complete(folder):  # no other process was faster
                _build(folder, pictures, square)
    _retry_unread(folder, pictures, square)
    index = _read_index(folder)
    reasons = index["broken"] | index["unread"]
    failed = {row: reasons[str(row)] for row in sorted(map(int, reasons))}
    _report(pictures, list(failed.values()), on_error, folder)
    images = MemmapImages(folder / "images.u8", tuple(index["shape"]))
    if not failed:
        return images, pictures, []
    rows = np.setdiff1d(np.arange(len(pictures)), list(failed))
    return replace(images, rows=rows), pictures.take(rows), list(failed.values())


def _report(pictures: PictureFiles, reasons: list[str], on_error: OnError, folder: Path) -> None:
    """Name the broken files in one error or one warning."""
    if not reasons:
        return
    listed = "; ".join(reasons[:_LISTED])
    more = f"; and {len(reasons) - _LISTED} more, in {folder / 'index.json'}" if len(reasons) > _LISTED else ""
    message = f"{len(reasons)} of {len(pictures)} pictures of {pictures.name} are broken: {listed}{more}"
    if on_error == "raise" or len(reasons) == len(pictures):
        raise BrokenPicture(f'{message}. Repair or remove them, or leave them out with on_error "skip"')
    _warn_once(f"{message}. They are left out")


@lru_cache
def _warn_once(message: str) -> None:
    """Warn in each process once, however often the same pictures are opened."""
    logger.warning(message)


def _key(pictures: PictureFiles, square: Square) -> str:
    """A hash of everything that the bytes depend on."""
    digest = hashlib.sha256(f"{_VERSION} {square}".encode())
    for path in pictures.paths:
        digest.update(f"{os.path.abspath(path)} {_size_and_time(path)}\n".encode(errors="surrogateescape"))
    if pictures.boxes is not None:
        digest.update(pictures.boxes.tobytes())
    return digest.hexdigest()[:12]


def _size_and_time(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:  # such as a dangling link
        return type(error).__name__
    return f"{status.st_size} {status.st_mtime_ns}"


def _is_complete(folder: Path) -> bool:
    """Whether the index, which is written last, exists and the images have the size that it states."""
    images, index = folder / "images.u8", folder / "index.json"
    if not (index.exists() and images.exists()):
        return False
    return images.stat().st_size == math.prod(_read_index(folder)["shape"])


def _build(folder: Path, pictures: PictureFiles, square: Square) -> None:
    """Decode all pictures in several processes, continuing after the complete chunks of an interrupted build."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(pictures), 3, square.size, square.size)
    part, log = folder / "images.part", folder / "failures.part"
    chunk_bytes = _CHUNK * math.prod(shape[1:])
    n_done = part.stat().st_size // chunk_bytes if part.exists() else 0
    require_space(folder, math.prod(shape) - n_done * chunk_bytes)
    failures = _resume_failures(log, n_done * _CHUNK)
    with open(part, "ab") as images:
        images.truncate(n_done * chunk_bytes)
        for chunk, failed in _decoded(pictures, square, n_done):
            _append_failures(log, failed)  # before the bytes, so that no complete chunk lacks its failures
            images.write(chunk.numpy().data)
            images.flush()
            failures += failed
        os.fsync(images.fileno())
    os.replace(part, folder / "images.u8")
    _write_index(folder, {"name": pictures.name, "shape": shape, **_by_kind(failures)})
    log.unlink(missing_ok=True)


def _resume_failures(log: Path, n_rows: int) -> list[Failure]:
    """Read the failures among the first `n_rows` rows; later ones belong to an incomplete chunk and are deleted."""
    if not log.exists():
        return []
    lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    failures = [failure for failure in (Failure(*json.loads(line)) for line in lines) if failure.row < n_rows]
    with atomic_write(log) as file:
        file.write_text("".join(map(_as_line, failures)))
    return failures


def _append_failures(log: Path, failures: list[Failure]) -> None:
    if failures:
        with open(log, "a") as file:
            file.writelines(map(_as_line, failures))
            file.flush()
            os.fsync(file.fileno())


def _as_line(failure: Failure) -> str:
    return json.dumps(failure) + "\n"


def _by_kind(failures: Iterable[Failure]) -> dict[str, dict[str, str]]:
    """Row -> reason, for each kind of failure."""
    table: dict[str, dict[str, str]] = {"broken": {}, "unread": {}}
    for row, kind, reason in failures:
        table[kind][str(row)] = reason
    return table


def _retry_unread(folder: Path, pictures: PictureFiles, square: Square) -> None:
    """Decode again the pictures that the system refused earlier, and store those that it delivers now."""
    if not _read_index(folder)["unread"]:
        return
    with locked(folder):
        index = _read_index(folder)
        images = np.memmap(folder / "images.u8", np.uint8, mode="r+", shape=tuple(index["shape"]))
        tried = (_decode_into(images[row], pictures, row, square) for row in map(int, index["unread"]))
        failed = _by_kind(failure for failure in tried if failure)
        images.flush()
        _write_index(folder, {**index, "broken": index["broken"] | failed["broken"], "unread": failed["unread"]})


def _read_index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "index.json").read_text())


def _write_index(folder: Path, index: dict[str, Any]) -> None:
    with atomic_write(folder / "index.json") as file:
        file.write_text(json.dumps(index, indent=1))


def _decoded(pictures: PictureFiles, square: Square, n_done: int) -> Iterator[tuple[Tensor, list[Failure]]]:
    """Chunks of bytes and their failures in order, after the first `n_done` chunks."""
    chunks = _Chunks(pictures, square)
    n_left = len(chunks) - n_done
    n_workers = min(n_cpus(), n_left) if n_left > 1 else 0
    order = range(n_done, len(chunks))
    loader: DataLoader[Any] = DataLoader(chunks, batch_size=None, sampler=order, num_workers=n_workers)
    title = f"Preparing {pictures.name}, once"
    with tqdm(desc=title, total=len(pictures), initial=n_done * _CHUNK, unit=" pictures") as bar:
        for chunk, failures in loader:
            yield chunk, failures
            bar.update(len(chunk))


class _Chunks(Dataset[tuple[np.ndarray, list[Failure]]]):
    """Runs of consecutive pictures, decoded, and their failures; a picture that failed is all zeros."""

    def __init__(self, pictures: PictureFiles, square: Square) -> None:
        self.pictures, self.square = pictures, square

    def __len__(self) -> int:
        return -(-len(self.pictures) // _CHUNK)

    def __getitem__(self, chunk: int) -> tuple[np.ndarray, list[Failure]]:
        rows = range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(self.pictures)))
        images = np.zeros((len(rows), 3, self.square.size, self.square.size), dtype=np.uint8)
        tried = [_decode_into(images[i], self.pictures, row, self.square) for i, row in enumerate(rows)]
        return images, [failure for failure in tried if failure]


def _decode_into(image: np.ndarray, pictures: PictureFiles, row: int, square: Square) -> Failure | None:
    """Write one decoded picture into `image`, or return why that failed."""
    try:
        image[:] = pictures.decode(row, square)
    except BrokenPicture as error:
        return Failure(row, "unread" if isinstance(error, UnreadPicture) else "broken", str(error))
    return None
