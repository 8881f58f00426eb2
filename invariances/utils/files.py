"""The data folder, safe reading of files, locks between processes and atomic writes."""

import errno
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pooch
from filelock import FileLock, Timeout

from invariances.errors import InvalidInput, UserError

logger = logging.getLogger(__name__)

MOST_DIGITS = 20  # of the number of a process
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # numbers of the errors of a full disk


def data_root(root: str | Path | None = None) -> Path:
    """The folder of all data: `root`, else $INVARIANCES_DATA, else the user's cache folder.

    It need not exist.

    Raises:
        InvalidInput: it exists but is no folder, or this user may not enter it.
    """
    home = Path(root or os.environ.get("INVARIANCES_DATA") or pooch.os_cache("invariances")).expanduser()
    try:
        os.stat(f"{home}/.")  # fails unless it is a folder that this user may enter
    except FileNotFoundError:  # created by the first write
        pass
    except OSError as error:
        raise InvalidInput(
            f"the data folder {home} cannot be used: {error.strerror}. "
            "Set INVARIANCES_DATA (or `root`) to a folder of your own"
        ) from error
    return home


def cache_root(root: str | Path | None = None) -> Path:
    """The folder of files that can be computed again.

    This is `cache` in the data folder or, if that is read-only, in the user's cache folder.
    """
    home = data_root(root)
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    return (home if os.access(existing, os.W_OK) else Path(pooch.os_cache("invariances"))) / "cache"


def require_file(path: str | Path) -> None:
    """Refuse anything but a regular file; opening a pipe, for one, would block for ever.

    Raises:
        InvalidInput: a folder, a pipe or a device.
        OSError: the file does not exist, or this user may not reach it.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise InvalidInput(f"{path} is no regular file")


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        most: number of bytes that it may have.

    Raises:
        InvalidInput: it cannot be read, or has more bytes.
    """
    try:
        require_file(path)
        if most is not None and path.stat().st_size > most:
            raise InvalidInput(f"{path} has {path.stat().st_size:,} bytes; expected at most {most:,}")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error


def require_unpacked_size(path: Path, most: int) -> None:
    """Refuse a zip file whose members say that they have more bytes than that together.

    Raises:
        InvalidInput: no regular file, or more bytes.
        BadZipFile: no zip file.
    """
    require_file(path)
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > most:
        raise InvalidInput(f"{path.name} holds {size:,} bytes; expected at most {most:,}")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, with or without a byte-order mark; invalid bytes become U+FFFD.

    Raises:
        InvalidInput: it cannot be read.
    """
    return read_bytes(path).decode("utf-8-sig", errors="replace").splitlines()


def half_path(path: Path, seed: int) -> Path:
    """The file of a random half of what a file is of.

    >>> half_path(Path("a/mnist.npz"), 3).as_posix()
    'a/mnist_half_3.npz'
    """
    return path.with_stem(f"{path.stem}_half_{seed}")


def n_cpus() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_own_files(folder: Path) -> None:
    """Refuse a folder with a link out of it, or a pipe or device: what is written or deleted there is not ours.

    Raises:
        InvalidInput: names the file, and where the link leads.
    """
    home = folder.resolve()
    for parent, folders, files in os.walk(home):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise InvalidInput(f"{path} is a link out of this folder, to {os.readlink(path)}; remove the link")
            if path.exists() and not (path.is_dir() or path.is_file()):
                raise InvalidInput(f"{path} is neither a file nor a folder; remove it")


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary folders of `atomic_write` that killed processes have left anywhere in a folder."""
    for path in folder.rglob(".?*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` among all processes; it is released however its holder ends.

    Raises:
        InvalidInput: the folder of `path` cannot be created or written.
    """
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another process is preparing %s; waiting for it", path)
        lock.acquire()
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written: {error.strerror}. Set INVARIANCES_DATA (or `root`) to a folder that "
            "you may write"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def held_by_one(path: Path) -> Iterator[int | None]:
    """Hold a lock that only one process can have, however its holder ends; the file holds the number of the process.

    Unlike the lock of `locked`, it is not inherited by the processes that its holder starts.

    Args:
        path: of the lock, a file that exists only while the lock is held, or if its holder was killed.

    Yields:
        None, or the number of the process that holds the lock already.
    """
    while True:
        # never through a link, whose target would be emptied
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        file = os.fdopen(os.open(path, flags, 0o666), "a+")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with file:
                file.seek(0)
                holder = file.read(MOST_DIGITS)
                yield int(holder) if holder.isdecimal() else 0
            return
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            break  # else its last holder has just deleted it
        file.close()
    try:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield None
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # what could not be written
            file.close()


@contextmanager
def failed_writing_explained(folder: Path, remedy: str) -> Iterator[None]:
    """Raise a UserError where the disk is full, or a file in a folder cannot be written or read.

    Args:
        folder: that is written to, named if the error names no file.
        remedy: end of the message: what to do then.
    """
    hook = threading.excepthook
    threading.excepthook = lambda args: None if _is_full(args.exc_value) else hook(args)  # of a logger's thread
    try:
        yield
    except OSError as error:
        path = Path(os.fsdecode(error.filename or folder))
        if _is_full(error):
            free = free_space(path)
            reason = f"cannot be written ({error.strerror}); {free}; make space, then {remedy}"
        elif path.absolute().is_relative_to(folder.absolute()) and error.filename:
            reason = f"cannot be written or read ({error.strerror}); remove it or change its permissions, then {remedy}"
        else:
            raise
        raise UserError(f"{path}: {reason}") from error
    finally:
        threading.excepthook = hook


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in FULL


def free_space(path: Path) -> str:
    """How much space there is for a file, as a part of a message.

    >>> free_space(Path("/none/such")).endswith(" MB are free in /")
    True
    """
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB are free in {folder}"


def require_space(folder: Path, n_bytes: int) -> None:
    """Refuse to begin a file in the cache that its disk cannot hold.

    Raises:
        InvalidInput: names the folder, what it needs and what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise InvalidInput(
            f"the cache {folder} needs {n_bytes / 1e9:.1f} GB more, but its disk has {free / 1e9:.1f} GB free; "
            "delete files, or set INVARIANCES_DATA to a larger disk"
        )


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file completely or not at all.

    Yields a temporary path in the same folder. It replaces `path` when the block succeeds and is deleted when
    the block fails. Missing folders are created.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "a.txt") as part:
    ...     _ = part.write_text("whole")
    >>> (folder / "a.txt").read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        yield part
        os.replace(part, path)
