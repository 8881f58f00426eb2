"""Downloads that are verified by a checksum and written atomically, with several mirrors."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch

from invariances.utils.files import atomic_write, locked

_TIMEOUT = 30  # seconds without an answer
_NAMES = {"md5": "MD5", "sha256": "SHA-256"}
_N_DIGITS = {"md5": 32, "sha256": 64}


class DownloadError(OSError, ValueError):
    """No mirror served the expected file."""


def download(path: Path, urls: Sequence[str], checksum: str) -> Path:
    """Download a file to `path`, from the first of `urls` that serves it with the right checksum.

    An existing file with that checksum costs no request. An existing file with another one is replaced once
    the right one has arrived. Processes that call this at the same time download once.

    Args:
        path: where the file goes; missing folders are created.
        urls: addresses of the same file, http(s) or file.
        checksum: "md5:DIGITS" or "sha256:DIGITS"; the first digits are enough, as in the file names of torch's
            checkpoints.

    Returns:
        `path`.

    Raises:
        DownloadError: with the failure of every address, and where to put the file by hand.
    """
    if verified(path, checksum):
        return path
    with locked(path):
        if verified(path, checksum):  # another process was faster
            return path
        failures = []
        for url in urls:
            failure = _fetch(path, url, checksum)
            if failure is None:
                return path
            failures.append(f"{url}: {failure}")
    raise DownloadError(
        f"could not download {path.name} ({checksum}): {'; '.join(failures)}. "
        f"Try again, or put the file at {path} by hand"
    )


def verified(path: Path, checksum: str) -> bool:
    """Whether the file exists and has that checksum, in the form that `download` takes."""
    algorithm, _, digits = checksum.partition(":")
    return path.is_file() and pooch.file_hash(str(path), alg=algorithm).startswith(digits)


def _fetch(path: Path, url: str, checksum: str) -> str | None:
    """Download from one address; returns the reason if that failed."""
    try:
        with atomic_write(path) as part:
            _retrieve(url, part)
            _verify(part, checksum)
    except (OSError, ValueError) as error:  # the errors of `requests` are OSErrors
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def _retrieve(url: str, part: Path) -> None:
    if url.startswith("file:"):
        shutil.copyfile(url2pathname(urlsplit(url).path), part)
        return
    # "identity": a server that unpacks .gz on the way would change the bytes.
    headers = {"Accept-Encoding": "identity"}
    pooch.HTTPDownloader(progressbar=True, timeout=_TIMEOUT, headers=headers)(url, str(part), None)


def _verify(part: Path, checksum: str) -> None:
    if verified(part, checksum):
        return
    algorithm, _, digits = checksum.partition(":")
    name, prefix = _NAMES[algorithm], "" if len(digits) == _N_DIGITS[algorithm] else "…"
    found = pooch.file_hash(str(part), alg=algorithm)
    raise ValueError(f"the file has {name} {found} in place of {name} {digits}{prefix} and was deleted")
