"""Time the flows beside other libraries, the plain version, and the floor that the machine sets.

    python scripts/benchmark.py [--only iin25 inverse] [--threads 2] [--seconds 8] [--clock cpu] [--device cuda]

Prints a table in Markdown. Versions take turns; a ratio is the median over the rounds, with its quartiles. Ours run in
a process with the settings of our trainings, the others in one as they are used elsewhere, "ours, allocator as it is"
among them. The other libraries are those of the extra `bench`; one that is not installed is named. All use fused Adam,
`plain` also the default one. On a machine that others use too, `--clock cpu --threads 1` counts processor time.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from benchmarks.flows import ELSEWHERE, FLOORS, OURS, WORKS
from benchmarks.rivals import rivals
from benchmarks.timing import CLOCKS, Times, copy_speed, ratio, sgemm_speed
from benchmarks.trainings import TRAININGS

AT_LEAST = 5  # rounds
TITLES = {name: title for name, (title, _) in (WORKS | TRAININGS).items()}


class Worker:
    """A process that runs a work, see `benchmarks.worker`."""

    def __init__(self, work: str, options: argparse.Namespace, ours: bool) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", work, "--clock", options.clock]
        command += ["--threads", str(options.threads), "--device", options.device]
        command += ["--ours"] if ours else []
        self.process = subprocess.Popen(
            command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=None if options.verbose else subprocess.DEVNULL,
        )

    @cached_property
    def first(self) -> Any:
        """What it says first: the names of the versions, or the times of a training."""
        return self.answer()

    def answer(self) -> Any:
        """The next line of its output."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit("a worker has ended; see its message with --verbose")
        return json.loads(line)

    def ask(self, name: str) -> float:
        """Milliseconds of a version."""
        print(name, file=self.process.stdin, flush=True)
        return float(self.answer())

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def in_turns(work: str, options: argparse.Namespace) -> tuple[Times, float | None]:
    """Milliseconds of each version in each round, in which all of them run once; and the floor of ours, if known."""
    with ExitStack() as stack:
        ours = stack.enter_context(Worker(work, options, ours=True))
        names = ours.first  # so it was set up while nothing else ran
        others = stack.enter_context(Worker(work, options, ours=False))
        workers = {name: others if name in ELSEWHERE else ours for name in names if others.first}
        for name, worker in workers.items():
            worker.ask(name)
        times: Times = {name: [] for name in workers}
        end = time.perf_counter() + options.seconds
        while time.perf_counter() < end or len(times[OURS]) < AT_LEAST:
            for name, worker in workers.items():
                times[name].append(worker.ask(name))
        known = work in FLOORS and options.device == "cpu"  # on a GPU, single products would tell the time of launching
        return times, ours.ask("floor") if known else None


def rows(work: str, options: argparse.Namespace) -> Iterator[str]:
    """A row for each version; ratios are to the first one."""
    least = None
    if work in TRAININGS:
        with Worker(work, options, ours=True) as worker:
            times: Times = worker.first
    else:
        times, least = in_turns(work, options)
    first = next(iter(times))
    for name, values in times.items():
        middle, low, high = ratio(values, times[first])
        share = f"{least:.1f}" if least is not None and name == first else ""
        yield f"| {TITLES[work]} | {name} | {min(values):.1f} | {middle:.2f} ({low:.2f}–{high:.2f}) | {share} |"


def _machine(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES), help="works (default: all)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=8, help="for each work, but for at least 5 rounds")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of the works that are no trainings")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--verbose", action="store_true", help="show what the trainings and libraries say")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_default_device(options.device)
    clock = CLOCKS[options.clock]
    print(
        f"{date.today()}, {_machine(options.device)}, {options.threads} thread(s), {options.clock} time, "
        f"torch {torch.__version__}: sgemm {sgemm_speed(clock) / 1e9:.0f} GFLOP/s, "
        f"copy {copy_speed(clock) / 1e9:.0f} GB/s"
    )
    if missing := rivals(4, 4, 1, 1)[1]:
        print(f"not installed, see the extra bench: {', '.join(missing)}")
    print("\n| work | version | ms, fastest | time / first (quartiles) | floor, ms |\n|---|---|---|---|---|")
    for work in options.only:
        for row in rows(work, options):
            print(row, flush=True)


if __name__ == "__main__":
    main()
