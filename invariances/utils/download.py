"""Files from the network: verified before use, whole or not there, from whichever mirror has them."""

from collections.abc import Sequence
from pathlib import Path

import pooch

from invariances.utils.files import locked

_TIMEOUT = 30  # seconds without an answer


class DownloadError(OSError, ValueError):
    """No mirror served the file that was expected."""


def download(path: Path, urls: Sequence[str], md5: str) -> Path:
    """The file at `path`, fetched from the first of `urls` that serves it with the right checksum.

    A file that is there and right costs no request. A wrong one is replaced, once the right one has come;
    several processes fetch it once.

    Raises:
        DownloadError: says what each address gave, and where to put the file by hand.
    """
    if _md5(path) == md5:
        return path
    with locked(path):
        if _md5(path) == md5:  # another process was faster
            return path
        failures = []
        for url in urls:
            failure = _fetch(path, url, md5)
            if failure is None:
                return path
            failures.append(f"{url}: {failure}")
    raise DownloadError(
        f"could not download {path.name} (md5 {md5}): {'; '.join(failures)}. "
        f"Try again, or put the file at {path} by hand"
    )


def _md5(path: Path) -> str | None:
    return pooch.file_hash(str(path), alg="md5") if path.is_file() else None


def _fetch(path: Path, url: str, md5: str) -> str | None:
    """Fetch one address; the reason if it failed."""
    # "identity": a server that unpacks .gz on the way would change the bytes.
    downloader = pooch.HTTPDownloader(
        progressbar=True, timeout=_TIMEOUT, headers={"Accept-Encoding": "identity"}
    )
    try:
        pooch.retrieve(url, f"md5:{md5}", fname=path.name, path=path.parent, downloader=downloader)
    except (OSError, ValueError) as error:  # the errors of `requests` are OSErrors
        return str(error)
    path.chmod(0o644)  # pooch leaves a file that only its owner can read
    return None
