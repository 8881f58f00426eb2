"""The client of the Hugging Face hub, where the hub is away: an answer within seconds, in place of a minute."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests

SECONDS = 4  # in which the hub has to answer
BUSY = 500  # states of a server from here on pass, so that the client would try again for a minute


@contextmanager
def answering(endpoint: str | None = None) -> Iterator[None]:
    """Let the hub's client use its cache alone if the hub is away.

    Args:
        endpoint: address of the hub; by default the client's.

    Raises:
        OSError: the hub is away, and what is asked for is not in the cache.
    """
    from huggingface_hub import constants

    endpoint = endpoint or constants.ENDPOINT
    # one that is offline already, by its environment, is not asked
    if constants.HF_HUB_OFFLINE or (reason := _failure(endpoint)) is None:
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except OSError as error:
        raise OSError(f"{endpoint} cannot be reached ({reason}), and the cache does not hold it") from error
    finally:
        constants.HF_HUB_OFFLINE = False


def is_of_client(error: Exception) -> bool:
    """Whether an error comes from the library with which the client sends its requests."""
    return type(error).__module__.startswith("httpx")  # the name has a version


def _failure(endpoint: str) -> str | None:
    """Why the hub gives no answer; None if it gives one."""
    try:
        state = requests.head(endpoint, timeout=SECONDS).status_code
    except requests.RequestException as error:
        return type(error).__name__
    return f"it answers {state}" if state >= BUSY else None
