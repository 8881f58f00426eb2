"""Unpacking of archives, with progress, that continues where it was interrupted."""

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO, TypeAlias

from tqdm import tqdm

from invariances.errors import InvalidInput
from invariances.utils.files import atomic_write, locked

# Errors of damaged archives, and of files and folders in them that have one name.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, IsADirectoryError, NotADirectoryError)


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
        InvalidInput: the archive is damaged, or holds links or files that do not belong into the folder; nothing is
            written then.

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
            for name, is_plain in _members(packed):
                _require_inside(folder, target, archive, name, is_plain)
            folder.mkdir(exist_ok=True)
            _remove_leftovers(folder)
            incomplete.touch()
            if isinstance(packed, zipfile.ZipFile):
                _unzip(packed, archive, target)
            else:
                _untar(packed, archive, target)
        incomplete.unlink()


@contextmanager
def _opened(archive: Path) -> Iterator["Archive"]:
    """Open an archive; damage found in the block is reported with its path."""
    try:
        with zipfile.ZipFile(archive) if archive.suffix == ".zip" else tarfile.open(archive) as packed:
            yield packed
    except DAMAGED as error:
        raise InvalidInput(
            f"{archive} is damaged or no archive: {error}. Delete the file and download it again"
        ) from error


Archive: TypeAlias = zipfile.ZipFile | tarfile.TarFile


def _members(packed: Archive) -> Iterator[tuple[str, bool]]:
    """Name of each member that is no folder, and whether it is a plain file; those of inner archives too."""
    if isinstance(packed, zipfile.ZipFile):
        files = (member for member in packed.infolist() if not member.is_dir())
        yield from ((member.filename, not stat.S_ISLNK(member.external_attr >> 16)) for member in files)
        return
    for member in packed:
        if not member.isdir():
            yield member.name, member.isreg()
        if member.isreg() and _is_tar(member):
            with tarfile.open(fileobj=packed.extractfile(member)) as inner:
                yield from _members(inner)


def _is_tar(member: tarfile.TarInfo) -> bool:
    return PurePosixPath(member.name).suffix == ".tar"


def _require_inside(
    folder: Path, target: Callable[[str], Path], archive: Path, name: str, is_plain: bool
) -> None:
    """Refuse a link or a device, and a name that leads out of the folder.

    Raises:
        InvalidInput: names the archive and the member.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    inside = not path.is_absolute() and ".." not in path.parts and path.name != ""
    if inside and path.suffix != ".tar":
        home = folder.resolve()
        inside = home in target(name).resolve().parents
    if not (inside and is_plain):
        found = "leads out of the folder" if is_plain else "is a link or a device"
        raise InvalidInput(
            f"{archive} holds {name!r}, which {found} {folder}; nothing was unpacked. Delete the file and download it "
            "again, from its publisher"
        )


def _remove_leftovers(folder: Path) -> None:
    """Delete the temporary folders of `atomic_write` that a killed call has left."""
    for path in [*folder.glob(".*/"), *folder.glob("*/.*/")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


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
    if _is_tar(member):
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
