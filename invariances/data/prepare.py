"""Unpacking archives with progress, going on where it was interrupted."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from invariances.data.places import locked, replacing


class MissingFiles(FileNotFoundError, ValueError):
    """Data that has to be fetched by hand; the message says which files go where."""


def prepare(folder: Path, archive: Path, help: str, place: Callable[[str], Path]) -> None:
    """Let `folder` hold the files of `archive`, unless it is there already.

    Args:
        folder: as it is if it exists, but for one that an interrupted call left.
        archive: .zip or .tar; an archive inside of it is unpacked in its turn.
        help: where to get the files; ends the message if they are missing.
        place: path of a file, from its name in the archive.

    Raises:
        MissingFiles: neither is there.
        ValueError: the archive is damaged.
    """
    mark = folder / ".unpacking"
    if folder.exists() and not mark.exists():
        return
    if not archive.exists():
        raise MissingFiles(f"neither the folder {folder} nor the archive {archive} is there. {help}")
    with locked(folder):
        if folder.exists() and not mark.exists():  # another process was faster
            return
        folder.mkdir(exist_ok=True)
        mark.touch()
        with _damage_told(archive):
            (_unzip if archive.suffix == ".zip" else _untar)(archive, place)
        mark.unlink()


@contextmanager
def _damage_told(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.ReadError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged or no archive: {error}. Fetch it anew") from error


def _unzip(archive: Path, place: Callable[[str], Path]) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member in tqdm(zipped.infolist(), desc=f"Unpacking {archive.name}, once", unit=" files"):
            if not member.is_dir():
                with zipped.open(member) as source:
                    _write(source, member.file_size, place(member.filename))


def _untar(archive: Path, place: Callable[[str], Path]) -> None:
    size = archive.stat().st_size
    title = f"Unpacking {archive.name}, once"
    with tarfile.open(archive) as tar, tqdm(desc=title, total=size, unit="B", unit_scale=True) as bar:
        for member in tar:
            _unpack(tar, member, place)
            bar.update(member.offset_data + member.size - bar.n)


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Callable[[str], Path]) -> None:
    source = tar.extractfile(member)
    if source is None:  # a folder
        return
    if PurePosixPath(member.name).suffix == ".tar":
        with tarfile.open(fileobj=source) as inner:
            for each in inner:
                _unpack(inner, each, place)
    else:
        _write(source, member.size, place(member.name))


def _write(source: BufferedIOBase | IO[bytes], size: int, path: Path) -> None:
    """One file, whole, unless it is there."""
    if not path.exists() or path.stat().st_size != size:
        with replacing(path) as part, open(part, "wb") as file:
            shutil.copyfileobj(source, file)
