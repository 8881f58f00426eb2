"""Models of the Hugging Face hub: folders as `invariances export` writes them.

The hub is that of $HF_ENDPOINT, or https://huggingface.co. Needs the extra `hub`: pip install "invariances[hub]".
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from invariances.errors import UserError
from invariances.utils.hub_client import answering, is_of_client

PREFIX = "hub:"
FILES = ("config.json", "model.safetensors", "README.md")  # nothing else is read or written
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def fetch(text: str) -> Path:
    """Download a model, unless it is in the hub's cache already.

    Args:
        text: `hub:user/name`.

    Returns:
        its folder.

    Raises:
        UserError: no such model, or the hub cannot be reached; says what to do by hand.
    """
    name = _checked(text.removeprefix(PREFIX))
    client = _client()
    by_hand = f"download {', '.join(FILES[:2])} from {_endpoint()}/{name} into a folder, and give its path"
    with _explained(f"{PREFIX}{name}", f"try again, or by hand: {by_hand}"), answering(_endpoint()):
        folder = Path(client.snapshot_download(name, allow_patterns=list(FILES), endpoint=_endpoint()))
    if not (folder / FILES[0]).is_file():
        raise UserError(f"{PREFIX}{name}: has no {FILES[0]}; expected a model from invariances export")
    return folder


def push(folder: Path, name: str) -> str:
    """Upload an exported folder; the model is made if it does not exist.

    Args:
        folder: of the model.
        name: `user/name`.

    Returns:
        its address.

    Raises:
        UserError: it was not uploaded.
    """
    name = _checked(name.removeprefix(PREFIX))
    client = _client()
    with _explained(f"{PREFIX}{name}", "nothing was uploaded; hf auth login signs you in"), answering(_endpoint()):
        api = client.HfApi(endpoint=_endpoint())
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=list(FILES))
    return f"{_endpoint()}/{name}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(f"{PREFIX}{name}: expected {PREFIX}user/name")
    return name


def _client() -> ModuleType:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise UserError('the Hugging Face hub needs a further package: pip install "invariances[hub]"') from error
    return huggingface_hub


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    """Turn what the client raises into a UserError: errors of HTTP, of the network, of its arguments, of the disk."""
    try:
        yield
    except Exception as error:
        if not is_of_client(error) and not isinstance(error, (OSError, ValueError, RuntimeError)):
            raise
        raise UserError(f"{what}: {_reason(error)}; {remedy}") from error


def _reason(error: Exception) -> str:
    if type(error).__name__ == "RepositoryNotFoundError":
        return "there is no such model, or it is private (hf auth login signs you in)"
    return next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)
