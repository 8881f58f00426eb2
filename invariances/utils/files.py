"""Where data lies, and how a file comes there whole or not at all."""

import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pooch
from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


def data_root(root: str | Path | None = None) -> Path:
    """The folder of all data: `root`, else $INVARIANCES_DATA, else the user's cache folder.

    Raises:
        ValueError: it is there and no folder, or is closed to this user.
    """
    home = Path(root or os.environ.get("INVARIANCES_DATA") or pooch.os_cache("invariances")).expanduser()
    try:
        os.stat(f"{home}/.")  # asks for a folder, and for the right to look into it
    except FileNotFoundError:  # made when something comes there
        pass
    except OSError as error:
        raise ValueError(
            f"the folder of all data, {home}, cannot be used: {error.strerror}. "
            "Let INVARIANCES_DATA (or `root`) name a folder that is yours"
        ) from error
    return home


def require_file(path: str | Path) -> None:
    """Refuse what is no file: a pipe would be waited for without end.

    Raises:
        ValueError: a folder, a pipe or a device.
        OSError: nothing is there, or it is closed to this user.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is no regular file")


def content(path: Path) -> bytes:
    """All of a file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        require_file(path)
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; bytes that are no text are left in it as signs of their own.

    Raises:
        ValueError: it cannot be read.
    """
    return content(path).decode(errors="replace").splitlines()


def cache_root(root: str | Path | None = None) -> Path:
    """The folder of what can be made again: `cache` in the data folder; in the user's if it is read-only."""
    home = data_root(root)
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    return (home if os.access(existing, os.W_OK) else Path(pooch.os_cache("invariances"))) / "cache"


def n_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on `path` among all processes; it is free again when its holder ends in any way.

    Raises:
        ValueError: its folder cannot be made or written.
    """
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another process is preparing %s; waiting for it", path)
        lock.acquire()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be made: {error.strerror}. Let INVARIANCES_DATA (or `root`) name a folder that "
            "you may write"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A new file to write beside `path`; it takes that name, whole, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        yield part
        os.replace(part, path)
