"""Handlers of the signals that end a command."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from invariances.errors import SIGNALS, Stopped

FIRST_PROCESS = "INVARIANCES_PROCESS"  # number of the process of a training that has started those of further devices
OWN_END, OTHERS_END = 3.0, 15.0  # seconds that it is given to end by itself, and after a signal


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
    """Call a handler on the signals that end a command, also on those that were held back until now.

    Outside of the main thread, where none arrive, do nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)


@contextmanager
def held_back() -> Iterator[None]:
    """Let processes that start now have no signal before they have handlers, see `on_signals`; it waits for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def first_process() -> int | None:
    """The process that has started this one for a further device; None in any other process."""
    number = os.environ.get(FIRST_PROCESS)
    return None if number in (None, str(os.getpid())) else int(number)


def stop_first(signum: int) -> None:
    """Pass a signal on to the process that has started this one for a further device, and await its end.

    Lightning would kill it as soon as this one has ended. It may have received the signal, too, so that it ends by
    itself.
    """
    first = first_process()
    if first is None or _has_ended(first, OWN_END):
        return
    with suppress(ProcessLookupError):
        os.kill(first, signum)
    _has_ended(first, OTHERS_END)


def _has_ended(parent: int, seconds: float) -> bool:
    """Whether the parent of this process ends in that time."""
    deadline = time.monotonic() + seconds
    while (at_work := os.getppid() == parent) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not at_work
