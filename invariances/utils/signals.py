"""Handlers of the signals that end a command."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from invariances.errors import SIGNALS


@contextmanager
def on_signals(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Call a handler on the signals that end a command; outside of the main thread, where none arrive, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)
