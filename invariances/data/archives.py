"""Unpacking of archives, with progress, that continues where it was interrupted."""

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

from invariances.errors import InvalidInput
from invariances.utils.files import atomic_write, locked


class MissingFiles(FileNotFoundError, ValueError):
    """Data that must be downloaded by hand is missing; the message says which files go where."""


def unpack_archive(folder: Path, archive: Path, help: str, target: Callable[[str], Path]) -> None:
    """Unpack `archive` into `folder`, unless the folder exists.

    A .tar inside a .tar is unpacked too. Every file is written atomically, and a call that was interrupted is
    continued by the next one.

    Args:
        folder: the result; left as it is if it exists, unless an interrupted call left it.
        archive: .zip or .tar, possibly compressed.
        help: where to get the files; ends the message if they are missing.
        target: path to unpack a file to, as a function of its name in the archive.

    Raises:
        MissingFiles: neither the folder nor the archive exists.
        InvalidInput: the archive is damaged.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(home / "a.zip", "w") as packed:
    ...     packed.writestr("deep/1.txt", "one")
    >>> unpack_archive(home / "a", home / "a.zip", "", lambda name: home / "a" / PurePosixPath(name).name)
    >>> (home / "a" / "1.txt").read_text()
    'one'
    """
    incomplete = folder / ".unpacking"  # exists until everything is unpacked
    if folder.exists() and not incomplete.exists():
        return
    if not archive.is_file():
        raise MissingFiles(f"neither the folder {folder} nor the archive file {archive} is there. {help}")
    with locked(folder):
        if folder.exists() and not incomplete.exists():  # another process was faster
            return
        with _opened(archive) as packed:
            folder.mkdir(exist_ok=True)
            incomplete.touch()
            if isinstance(packed, zipfile.ZipFile):
                _unzip(packed, archive, target)
            else:
                _untar(packed, archive, target)
        incomplete.unlink()


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    """Open an archive; damage found in the block is reported with its path."""
    try:
        with zipfile.ZipFile(archive) if archive.suffix == ".zip" else tarfile.open(archive) as packed:
            yield packed
    except (zipfile.BadZipFile, tarfile.ReadError, EOFError, zlib.error) as error:
        raise InvalidInput(
            f"{archive} is damaged or no archive: {error}. Delete the file and download it again"
        ) from error


def _unzip(zipped: zipfile.ZipFile, archive: Path, target: Callable[[str], Path]) -> None:
    for member in tqdm(zipped.infolist(), desc=f"Unpacking {archive.name}, once", unit=" files"):
        if not member.is_dir():
            with zipped.open(member) as source:
                _write(source, member.file_size, target(member.filename))


def _untar(tar: tarfile.TarFile, archive: Path, target: Callable[[str], Path]) -> None:
    size = archive.stat().st_size
    with tqdm(desc=f"Unpacking {archive.name}, once", total=size, unit="B", unit_scale=True) as bar:
        for member in tar:
            _unpack_member(tar, member, target)
            bar.update(member.offset_data + member.size - bar.n)


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Callable[[str], Path]) -> None:
    source = tar.extractfile(member)
    if source is None:  # a folder
        return
    if PurePosixPath(member.name).suffix == ".tar":
        with tarfile.open(fileobj=source) as inner:
            for inner_member in inner:
                _unpack_member(inner, inner_member, target)
    else:
        _write(source, member.size, target(member.name))


def _write(source: BufferedIOBase | IO[bytes], size: int, path: Path) -> None:
    """Write one file atomically, unless it exists with that size."""
    if not path.exists() or path.stat().st_size != size:
        with atomic_write(path) as part, open(part, "wb") as file:
            shutil.copyfileobj(source, file)
