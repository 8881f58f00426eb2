"""Handlers of the signals that end a command."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from invariances.errors import SIGNALS, Stopped


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise Stopped on Ctrl-C, SIGTERM and SIGUSR1; Lightning's own handlers would exit with 1, 0 and not at all."""
    received: list[int] = []

    def stop(signum: int, frame: Any) -> NoReturn:
        received.append(signum)
        raise Stopped(signum)

    with on_signals(stop):
        yield
    if received:  # while Python could not raise, as in a destructor
        raise Stopped(received[0])


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
