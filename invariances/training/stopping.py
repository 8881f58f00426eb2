"""Stops by signals: the state is saved first, all processes stop together, and no wait outlives a signal."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch

from invariances.errors import SIGNALS, Stopped
from invariances.training.saving import Checkpoints

GRACE = 2.0  # seconds that a waiting process has to notice a signal


class StopOnSignal(pl.Callback):
    """On Ctrl-C, SIGTERM or SIGUSR1 finish the batch, save, and exit with code 130, 143 or 138.

    With several processes, a signal to any of them stops all after the same batch. An evaluation of a step that has a
    checkpoint is left at once, since the resumed run makes up for it. A second signal ends at once.

    Used as a context manager around `fit`, which restores the signal handlers.
    """

    def __init__(self, saver: Checkpoints) -> None:
        self.saver = saver
        self.received: int | None = None
        self.previous: dict[int, Any] = {}
        self._may_leave = False  # in an evaluation of a step that has a checkpoint

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python handles signals there only
            self.previous = {signum: signal.getsignal(signum) for signum in SIGNALS}

    def __exit__(self, *_: object) -> None:
        for signum, handler in self.previous.items():
            signal.signal(signum, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        # not earlier: Lightning would replace them by its own handler, which exits with code 0 on SIGTERM
        for signum in self.previous:
            signal.signal(signum, self._receive)

    def _receive(self, signum: int, frame: Any) -> None:
        self.received = signum
        signal.signal(signum, signal.SIG_DFL)
        if self._may_leave:
            raise self._stopped()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.received = _agreed(trainer, self.received)
        if self.received is not None and not self.saver.has_written(pl_module):
            self.saver.is_due = True
            self.saver.save_if_due(trainer, pl_module, batch_idx)

    # The batch's losses are logged after `on_train_batch_end`, and only then the checkpoint is published; so exit in
    # the hooks after these.

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self._exit_if_saved(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._exit_if_saved(pl_module)
        self._may_leave = trainer.world_size == 1 and self.saver.last_step == int(pl_module.step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._may_leave = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._exit_if_saved(pl_module)

    def _exit_if_saved(self, pl_module: Any) -> None:
        if self.received is not None and self.saver.last_step == int(pl_module.step):
            raise self._stopped()

    def _stopped(self) -> Stopped:
        assert self.received is not None
        return Stopped(self.received, f" after step {self.saver.last_step}; the state is saved")


def _agreed(trainer: pl.Trainer, received: int | None) -> int | None:
    """The signal that any process has received."""
    if trainer.world_size == 1:
        return received
    mine = torch.tensor(received or 0, device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(mine, reduce_op="max")) or None


@contextmanager
def end_waits(on_end: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """End the process on a signal even while it waits for others, where Python's own handlers do not run.

    Until the yielded function is called, a signal that nothing has answered within `GRACE` seconds ends the process;
    later on, the second signal does.

    Args:
        on_end: called before the process ends.

    Yields:
        to be called when the training begins.
    """
    if threading.current_thread() is not threading.main_thread():  # Python handles signals there only
        yield lambda: None
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    begun, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=_watch, args=(reader, begun, over, on_end), daemon=True)
    thread.start()
    try:
        yield begun.set
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(writer)
        thread.join()
        os.close(reader)


def _watch(reader: int, begun: threading.Event, over: threading.Event, on_end: Callable[[], object]) -> None:
    """Wait for signals, each of which is a byte; the end of the file is that of the block."""
    seen = 0
    while byte := os.read(reader, 1):
        signum = byte[0]
        seen += signum in SIGNALS
        if signum not in SIGNALS or (begun.is_set() and seen == 1):
            continue
        if not over.wait(GRACE):
            on_end()
            print(f"stopped by {signal.Signals(signum).name} while waiting", file=sys.stderr, flush=True)
            os._exit(128 + signum)
