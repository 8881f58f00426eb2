"""Several commands side by side, one process each: trainings that do not depend on each other."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import IO, Any

from invariances.cli.command_line import on_signals
from invariances.utils.files import n_cpus

EDFLOW = (sys.executable, "-m", "invariances.cli.edflow")
THREADS = "OMP_NUM_THREADS"
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
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    stopped_by: int | None = None  # a signal
    lock: Any = field(default_factory=Lock)

    @property
    def failed(self) -> bool:
        return any(self.codes.values())


def run_jobs(jobs: Sequence[Job], n_parallel: int, gpus: Sequence[str] = ()) -> int:
    """Run commands, `n_parallel` at a time; after one that fails no other begins.

    On the CPU the cores are shared out: each process has cores / n_parallel threads, unless OMP_NUM_THREADS is set.
    On GPUs each process sees one. Ctrl-C, SIGTERM and SIGUSR1 go to all that are running, and the others do not begin.

    Args:
        jobs: commands with different names.
        n_parallel: processes at a time, at least 1.
        gpus: identifiers for CUDA_VISIBLE_DEVICES; empty on the CPU.

    Returns:
        the first exit code that is not 0, in the order of `jobs`, or 0; 128 + the signal of a process that one ended.

    >>> run_jobs([Job("a", [sys.executable, "-c", "print('hello')"])], n_parallel=1)
    [a] hello
    0
    """
    pool = _Pool(SimpleQueue())
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
    return {THREADS: str(max(1, n_cpus() // n_parallel))} | os.environ


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
        _copy_lines(process.stdout, f"[{job.name}] ")
        code = process.wait()
        with pool.lock:
            del pool.running[job.name]
            pool.codes[job.name] = code if code >= 0 else 128 - code
        if len(pool.codes) + len(pool.running) > 1 or code:
            _say(f"[{job.name}] ended with exit code {code} after {time.monotonic() - started:.0f} s")


def _started(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # In a session of its own: a terminal's Ctrl-C would reach it twice.
    return subprocess.Popen(
        job.command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def _copy_lines(stream: IO[bytes] | None, prefix: str) -> None:
    """Print a process's output line by line; a progress bar's carriage returns end lines too."""
    rest = b""
    while stream is not None and (chunk := os.read(stream.fileno(), 1 << 16)):
        *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
        for line in filter(None, lines):
            _say(prefix + line.decode(errors="replace"))
    if rest:
        _say(prefix + rest.decode(errors="replace"))


def _say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def _signals_to(pool: _Pool) -> Iterator[None]:
    """Pass the signals that end a training on to all running processes."""

    def pass_on(signum: int, frame: Any) -> None:
        pool.stopped_by = signum
        for process in list(pool.running.values()):
            process.send_signal(signum)

    with on_signals(pass_on):
        yield
