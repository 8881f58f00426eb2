"""Several commands side by side, one process each: trainings that do not depend on each other."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import IO, Any

from invariances.utils.process_settings import THREADS, n_threads
from invariances.utils.signals import on_signals

Listener = Callable[[str, str], None]  # is told the name of a job and a line of its output
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Job:
    """A command with a name, which stands in front of each line of its output."""

    name: str
    command: Sequence[str]


@dataclass
class _Pool:
    """The state that the threads of a pool share."""

    waiting: SimpleQueue[Job]
    listen: Listener
    keep_going: bool
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    stopped_by: int | None = None  # a signal
    lock: Any = field(default_factory=Lock)
    one_line: Any = field(default_factory=Lock)  # held while a line is told, so that no two of them mix

    def tell(self, job: Job, line: str) -> None:
        with self.one_line:
            self.listen(job.name, line)

    @property
    def failed(self) -> bool:
        return any(self.codes.values()) and not self.keep_going


def _print(name: str, line: str) -> None:
    print(f"[{name}] {line}", flush=True)


def run_jobs(
    jobs: Sequence[Job],
    n_parallel: int,
    gpus: Sequence[str] = (),
    listen: Listener = _print,
    keep_going: bool = False,
) -> int:
    """Run commands, `n_parallel` at a time; after one that fails no other begins, unless `keep_going`.

    On the CPU the cores are shared out: each process has cores / n_parallel threads, unless OMP_NUM_THREADS is set.
    On GPUs each process sees one. Ctrl-C, SIGTERM and SIGUSR1 go to all that are running, and the others do not begin.

    Args:
        jobs: commands with different names.
        n_parallel: processes at a time, at least 1.
        gpus: identifiers for CUDA_VISIBLE_DEVICES; empty on the CPU.
        listen: is called with each line of the output, one at a time; by default it prints them.
        keep_going: whether the others begin after one that fails.

    Returns:
        the first exit code that is not 0, in the order of `jobs`, or 0; 128 + the signal of a process that one ended.

    >>> import sys
    >>> run_jobs([Job("a", [sys.executable, "-c", "print('hello')"])], n_parallel=1)
    [a] hello
    0
    """
    pool = _Pool(SimpleQueue(), listen, keep_going)
    for job in jobs:
        pool.waiting.put(job)
    n_parallel = min(n_parallel, len(jobs))
    slots = [Thread(target=_work, args=(pool, _environment(slot, n_parallel, gpus))) for slot in range(n_parallel)]
    with _signals_to(pool):
        for thread in slots:
            thread.start()
        for thread in slots:
            while thread.is_alive():  # not one long join, in which Python would handle no signal
                thread.join(0.2)
    codes = [pool.codes.get(job.name, 0) for job in jobs]
    return next((code for code in codes if code), 0 if pool.stopped_by is None else 128 + pool.stopped_by)


def _environment(slot: int, n_parallel: int, gpus: Sequence[str]) -> Mapping[str, str]:
    """Variables of the processes of a slot."""
    if gpus:
        return os.environ | {GPUS: gpus[slot % len(gpus)]}
    return {THREADS: str(n_threads(n_parallel))} | os.environ


def _work(pool: _Pool, environment: Mapping[str, str]) -> None:
    """Run waiting jobs one after the other, until none is left, one has failed or a signal came."""
    while True:
        with pool.lock:
            try:
                job = None if pool.stopped_by or pool.failed else pool.waiting.get_nowait()
            except Empty:
                job = None
            if job is None:
                return
            started = time.monotonic()
            process = pool.running[job.name] = _started(job, environment)
        for line in _lines(process.stdout):
            pool.tell(job, line)
        code = process.wait()
        with pool.lock:
            del pool.running[job.name]
            pool.codes[job.name] = code if code >= 0 else 128 - code
        if len(pool.codes) + len(pool.running) + pool.waiting.qsize() > 1 or code:
            pool.tell(job, f"ended with exit code {code} after {time.monotonic() - started:.0f} s")


def _started(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # In a session of its own: a terminal's Ctrl-C would reach it twice.
    return subprocess.Popen(
        job.command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def _lines(stream: IO[bytes] | None) -> Iterator[str]:
    """The lines of a process's output as they come; a progress bar's carriage returns end lines too."""
    rest = b""
    while stream is not None and (chunk := os.read(stream.fileno(), 1 << 16)):
        *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
        yield from (line.decode(errors="replace") for line in lines if line)
    if rest:
        yield rest.decode(errors="replace")


@contextmanager
def _signals_to(pool: _Pool) -> Iterator[None]:
    """Pass the signals that end a training on to all running processes."""

    def pass_on(signum: int, frame: Any) -> None:
        pool.stopped_by = signum
        for process in list(pool.running.values()):
            process.send_signal(signum)

    with on_signals(pass_on):
        yield


def visible_gpus() -> list[str]:
    """Identifiers of the GPUs that this process may use."""
    import torch  # takes seconds

    visible = os.environ.get(GPUS)
    return visible.split(",") if visible else [str(device) for device in range(torch.cuda.device_count())]
