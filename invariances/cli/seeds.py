"""`edflow --seeds N`: trainings that differ in their seed alone, one after the other, each in a process of its own."""

import argparse
import signal
import subprocess
import sys

COMMAND = [sys.executable, "-m", "invariances.cli.edflow"]


def train_seeds(words: list[str], n: int) -> int:
    """Run `edflow WORDS --seed SEED` with the seeds 0 … n − 1, up to the first that fails; returns its exit code or 0.

    Args:
        words: command line of `edflow`; its `--seeds` is left out.
        n: number of trainings.
    """
    flag = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flag.add_argument("--seeds")
    rest = flag.parse_known_args(words)[1]
    codes = (_run([*COMMAND, *rest, "--seed", str(seed)]) for seed in range(n))
    return next((code for code in codes if code), 0)


def _run(command: list[str]) -> int:
    """The exit code of a command, which gets the signals of this process; 128 + the signal that ended it."""
    process = subprocess.Popen(command, start_new_session=True)  # else a terminal's Ctrl-C would reach it twice
    before = {
        signum: signal.signal(signum, lambda received, frame: process.send_signal(received))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        code = process.wait()
        return code if code >= 0 else 128 - code
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
