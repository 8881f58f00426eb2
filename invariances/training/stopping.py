"""Stops by signals: the state is saved first, all processes stop together, and no wait outlives a signal."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch

from invariances.errors import SIGNALS, Stopped
from invariances.training.saving import Checkpoints
from invariances.utils.signals import first_process

GRACE = 2.0  # seconds that a waiting process has to notice a signal
ORPHANED = 10.0  # and for which it goes on when the process that started it has ended


class StopOnSignal(pl.Callback):
    """On Ctrl-C, SIGTERM or SIGUSR1 finish the batch, save, and exit with code 130, 143 or 138.

    With several processes, a signal to any of them stops all after the same batch. An evaluation of a step that has a
    checkpoint is left at once, since the resumed run makes up for it. A second signal ends at once.

    Used as a context manager around `fit`, which restores the signal handlers.

    Args:
        saver: writes the checkpoint.
        on_end: called before the process ends by a signal while it waits for other processes.
    """

    def __init__(self, saver: Checkpoints, on_end: Callable[[], object]) -> None:
        self.saver, self.waits = saver, Waits(on_end)
        self.received: int | None = None  # by this process
        self.agreed: int | None = None  # received by any process
        self.previous: dict[int, Any] = {}
        self._may_leave = False  # in an evaluation of a step that has a checkpoint

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python handles signals there only
            self.previous = {signum: signal.getsignal(signum) for signum in SIGNALS}
            self.waits.watch()

    def __exit__(self, *_: object) -> None:
        for signum, handler in self.previous.items():
            signal.signal(signum, handler)
        self.waits.end()

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        # not earlier: Lightning would replace them by its own handler, which exits with code 0 on SIGTERM
        for signum in self.previous:
            signal.signal(signum, self._receive)
        self.waits.n_answered = 1

    def _receive(self, signum: int, frame: Any) -> None:
        self.received = signum
        signal.signal(signum, signal.SIG_DFL)
        if self._may_leave:
            raise self._stopped(signum)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._agree(trainer)
        if self.agreed is not None and not self.saver.has_written(pl_module):
            self.saver.is_due = True
            self.saver.save_if_due(trainer, pl_module, batch_idx)

    # The batch's losses are logged after `on_train_batch_end`, and only then the checkpoint is published; so exit in
    # the hooks after these.

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self._exit_if_saved(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._may_leave = trainer.world_size == 1 and self.saver.last_step == int(pl_module.step)
        self._agree(trainer)
        self._exit_if_saved(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._may_leave = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._agree(trainer)
        self._exit_if_saved(trainer, pl_module)

    def _agree(self, trainer: pl.Trainer) -> None:
        """Tell all processes the signal that any of them has received; one that comes meanwhile waits for the next."""
        if trainer.world_size == 1:
            self.agreed = self.received
        else:
            mine = torch.tensor(self.received or 0, device=trainer.strategy.root_device)
            self.agreed = int(trainer.strategy.reduce(mine, reduce_op="max")) or None

    def _exit_if_saved(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.agreed is not None and self.saver.last_step == int(pl_module.step):
            trainer.strategy.barrier("stopped")  # the end of any process ends the others, also while they save
            raise self._stopped(self.agreed)

    def _stopped(self, signum: int) -> Stopped:
        return Stopped(signum, f" after step {self.saver.last_step}; the state is saved")


class Waits:
    """End the process even while it waits for others, where Python's own handlers do not run.

    That is, on a signal, or when it was started for a further device by a process that has ended meanwhile.

    Args:
        on_end: called before the process ends.

    Attributes:
        n_answered: number of signals that are left to other handlers, however long these take; a further one ends the
            process if nothing has answered it within `GRACE` seconds.
    """

    def __init__(self, on_end: Callable[[], object]) -> None:
        self.on_end, self.n_answered = on_end, 0
        self._over = threading.Event()
        self._pipe: tuple[int, int] | None = None
        self._before = -1

    def watch(self) -> None:
        """Begin; only in the main thread."""
        reader, writer = self._pipe = os.pipe()
        os.set_blocking(writer, False)
        self._before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
        if (first := first_process()) is not None:
            threading.Thread(target=self._watch_first, args=(first,), daemon=True).start()

    def end(self) -> None:
        """End it."""
        self._over.set()
        if self._pipe is not None:
            signal.set_wakeup_fd(self._before)
            os.close(self._pipe[1])  # ends the thread, which closes the other end
            self._pipe = None

    def _watch(self, reader: int) -> None:
        """Read the numbers of signals, a byte each."""
        n_seen = 0
        with open(reader, "rb", buffering=0) as numbers:
            while byte := numbers.read(1):
                n_seen += byte[0] in SIGNALS
                if byte[0] in SIGNALS and n_seen > self.n_answered and not self._over.wait(GRACE):
                    self.on_end()
                    print(f"stopped by {signal.Signals(byte[0]).name} while waiting", file=sys.stderr, flush=True)
                    os._exit(128 + byte[0])

    def _watch_first(self, pid: int) -> None:
        """End this process some time after the one that started it: it may wait for that one for half an hour."""
        while os.getppid() == pid:
            if self._over.wait(1):
                return
        if not self._over.wait(ORPHANED):
            os._exit(1)
