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

from invariances.utils.files import atomic_write, locked


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
    if not archive.is_file():
        raise MissingFiles(f"neither the folder {folder} nor the archive file {archive} is there. {help}")
    with locked(folder):
        if folder.exists() and not mark.exists():  # another process was faster
            return
        with _opened(archive) as packed:
            folder.mkdir(exist_ok=True)
            mark.touch()
            if isinstance(packed, zipfile.ZipFile):
                _unzip(packed, archive, place)
            else:
                _untar(packed, archive, place)
        mark.unlink()


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    """The archive, open; what is wrong with it is told."""
    try:
        with zipfile.ZipFile(archive) if archive.suffix == ".zip" else tarfile.open(archive) as packed:
            yield packed
    except (zipfile.BadZipFile, tarfile.ReadError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged or no archive: {error}. Fetch it anew") from error


def _unzip(zipped: zipfile.ZipFile, archive: Path, place: Callable[[str], Path]) -> None:
    for member in tqdm(zipped.infolist(), desc=f"Unpacking {archive.name}, once", unit=" files"):
        if not member.is_dir():
            with zipped.open(member) as source:
                _write(source, member.file_size, place(member.filename))


def _untar(tar: tarfile.TarFile, archive: Path, place: Callable[[str], Path]) -> None:
    size = archive.stat().st_size
    with tqdm(desc=f"Unpacking {archive.name}, once", total=size, unit="B", unit_scale=True) as bar:
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
        with atomic_write(path) as part, open(part, "wb") as file:
            shutil.copyfileobj(source, file)
