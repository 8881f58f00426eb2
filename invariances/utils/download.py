"""Downloads that are verified by a checksum and written atomically, from several mirrors, with a second attempt."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
import requests
from urllib3.exceptions import MaxRetryError, ProtocolError

from invariances.utils.files import atomic_write, locked

log = logging.getLogger(__name__)

PAUSES = (1.0, 4.0)  # seconds before a further attempt, where the last one was broken off or the server was busy
_TIMEOUT = 30  # seconds without an answer
_BUSY = (429, 500, 502, 503, 504)  # states of a server that pass
_NAMES = {"md5": "MD5", "sha256": "SHA-256"}
_N_DIGITS = {"md5": 32, "sha256": 64}
_WEB_PAGE = (b"<!doctype html", b"<html")

Listen = Callable[[int, int], object]  # is given the bytes that have arrived, and those of the whole file, 0 if unknown
_listener: ContextVar[Listen | None] = ContextVar("listener", default=None)


class DownloadError(OSError, ValueError):
    """No mirror served the expected file."""


@contextmanager
def listening(listen: Listen) -> Iterator[None]:
    """Tell of the progress of this thread's downloads, in place of a bar in the terminal."""
    token = _listener.set(listen)
    try:
        yield
    finally:
        _listener.reset(token)


def download(path: Path, urls: Sequence[str], checksum: str | None) -> Path:
    """Download a file to `path`, from the first of `urls` that serves it with the right checksum.

    An existing file with that checksum costs no request. An existing file with another one is replaced once
    the right one has arrived. Processes that call this at the same time download once. What a broken connection
    leaves is deleted, and the download starts anew.

    Args:
        path: where the file goes; missing folders are created.
        urls: addresses of the same file, http(s) or file.
        checksum: "md5:DIGITS" or "sha256:DIGITS"; the first digits are enough, as in the file names of torch's
            checkpoints. If it is not known, `None`: the file that is there, or arrives first, counts as the right one
            from then on, since its checksum is kept beside it, see `pinned`.

    Returns:
        `path`.

    Raises:
        DownloadError: with the failure of every address, and how to put the file there by hand.
        InvalidInput: the folder cannot be written.
    """
    if checksum is None and path.is_file() and not _is_web_page(path):
        pin(path)
    if verified(path, checksum or pinned(path)):
        return path
    with locked(path):
        expected = checksum or pinned(path)
        if verified(path, expected):  # another process was faster
            return path
        failures = _fetch_from_any(path, urls, expected)
    if failures:
        raise DownloadError(
            f"could not download {path.name}{f' ({expected})' if expected else ''}: {'; '.join(failures)}. "
            f"Try again, or by hand: fetch {urls[0]} and save it as {path}"
        )
    if checksum is None:
        pin(path)
    return path


def verified(path: Path, checksum: str | None) -> bool:
    """Whether the file exists and has that checksum, in the form that `download` takes; without one, `False`."""
    if checksum is None or not path.is_file():
        return False
    algorithm, _, digits = checksum.partition(":")
    return pooch.file_hash(str(path), alg=algorithm).startswith(digits)


def pinned(path: Path) -> str | None:
    """The checksum that was kept when the file was first seen, in `<path>.sha256`; `None` if there is none."""
    with suppress(OSError, UnicodeDecodeError):
        digits = _pin_of(path).read_text().strip()
        if len(digits) == _N_DIGITS["sha256"]:
            return f"sha256:{digits}"
    return None


def pin(path: Path) -> None:
    """Keep the checksum of a file whose right one is not known, unless one is kept already; see `pinned`."""
    if pinned(path) is not None:
        return
    digits = pooch.file_hash(str(path), alg="sha256")
    log.warning("%s: its checksum is not published; SHA-256 %s is taken as right from now on", path, digits)
    try:
        with atomic_write(_pin_of(path)) as part:
            part.write_text(f"{digits}\n")
    except OSError as error:
        log.warning("%s: its checksum cannot be kept beside it (%s)", path, error.strerror)


def _pin_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _fetch_from_any(path: Path, urls: Sequence[str], checksum: str | None) -> list[str]:
    """Download from the first address that serves the file; returns the failure of each if none does."""
    remaining, failures = list(urls), {}
    for pause in (0.0, *PAUSES):
        time.sleep(pause if remaining else 0)
        for url in list(remaining):
            failure = _fetch(path, url, checksum)
            if failure is None:
                return []
            failures[url] = _reason(failure)
            if not _passes(failure):
                remaining.remove(url)
    return [f"{url}: {reason}" for url, reason in failures.items()]


def _fetch(path: Path, url: str, checksum: str | None) -> Exception | None:
    """Download from one address; returns the error if that failed."""
    try:
        with atomic_write(path) as part:
            _retrieve(url, part)
            _verify(part, checksum)
    except (OSError, ValueError) as error:  # the errors of `requests` are OSErrors
        return error
    return None


def _reason(error: Exception) -> str:
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError) and cause.reason is not None:
        error = cause.reason  # without the address, which the message has already
    return (str(error).splitlines() or [type(error).__name__])[0]


def _passes(error: Exception) -> bool:
    """Whether another attempt may succeed: the server was found, but was busy, too slow or broke off."""
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in _BUSY
    broken_off = isinstance(error, requests.ConnectionError) and error.args and isinstance(error.args[0], ProtocolError)
    return bool(broken_off) or isinstance(error, (requests.Timeout, requests.exceptions.ChunkedEncodingError))


def _retrieve(url: str, part: Path) -> None:
    if url.startswith("file:"):
        shutil.copyfile(url2pathname(urlsplit(url).path), part)
        return
    # "identity": a server that unpacks .gz on the way would change the bytes.
    headers = {"Accept-Encoding": "identity"}
    listen = _listener.get()
    bar = True if listen is None else _Progress(listen)
    pooch.HTTPDownloader(progressbar=bar, timeout=_TIMEOUT, headers=headers)(url, str(part), None)


class _Progress:
    """What `pooch` takes for a bar; it sets `total` before the first `update`."""

    def __init__(self, listen: Listen) -> None:
        self.listen, self.total, self.done = listen, 0, 0

    def update(self, n: int) -> None:
        self.done += n
        self.listen(self.done, self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


def _verify(part: Path, checksum: str | None) -> None:
    web_page = _is_web_page(part)
    if checksum is None and not web_page and part.stat().st_size:
        return
    if checksum is None:
        raise ValueError(f"the server sent {'a web page' if web_page else 'nothing'} in place of the file")
    if verified(part, checksum):
        return
    algorithm, _, digits = checksum.partition(":")
    name, prefix = _NAMES[algorithm], "" if len(digits) == _N_DIGITS[algorithm] else "…"
    found = pooch.file_hash(str(part), alg=algorithm)
    kind = "is a web page and " if web_page else ""
    raise ValueError(f"the file {kind}has {name} {found} in place of {name} {digits}{prefix} and was deleted")


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith(_WEB_PAGE)
