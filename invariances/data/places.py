"""Where data lies, and how a file comes there whole or not at all."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pooch
from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


def data_root(root: str | Path | None = None) -> Path:
    """The folder of all data: `root`, else $INVARIANCES_DATA, else the user's cache folder."""
    return Path(root or os.environ.get("INVARIANCES_DATA") or pooch.os_cache("invariances")).expanduser()


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
    """Hold the lock on `path` among all processes; it is free again when its holder ends in any way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another process is preparing %s; waiting for it", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file to write beside `path`; it takes that name, whole, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        yield part
        os.replace(part, path)
