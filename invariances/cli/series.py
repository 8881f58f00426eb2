"""`edflow --each FILES`, `--seeds N`, `--jobs N`: several trainings of one command line, each a process of its own."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from invariances.errors import UserError
from invariances.training.jobs import Job, run_jobs, visible_gpus

EDFLOW = (sys.executable, "-m", "invariances.cli.edflow")


def is_series(options: argparse.Namespace) -> bool:
    """Whether a command line asks for several trainings."""
    return bool(options.each) or options.seeds is not None


def check_series(options: argparse.Namespace) -> None:
    """Refuse what does not go with several trainings.

    Raises:
        UserError: names the flag.
    """
    if options.jobs is not None and not is_series(options):
        raise UserError("--jobs is for several trainings; add --each FILE … or --seeds N")
    if not is_series(options):
        return
    flag = "--each" if options.each else "--seeds"
    for name in ("seeds", "jobs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: expected 1 or more")
    if options.project is not None or not options.train:
        raise UserError(f"{flag} is for new trainings; use it with -b CONFIG -t")
    if options.seeds is not None and "seed" in options.overrides:
        raise UserError("--seed and --seeds: leave out one of them")


def train_series(words: Sequence[str], options: argparse.Namespace) -> int:
    """Run all trainings of a series, `--jobs` at a time; see `run_jobs`.

    Args:
        words: the command line of `edflow`.
        options: parsed from it.

    Returns:
        the exit code.
    """
    gpus = visible_gpus() if (options.jobs or 1) > 1 else []
    return run_jobs(list(_jobs(words, options)), options.jobs or 1, gpus)


def _jobs(words: Sequence[str], options: argparse.Namespace) -> Iterator[Job]:
    """A training for each file and each seed."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--seeds", "--jobs"):
        own.add_argument(flag)
    own.add_argument("--each", nargs="+", action="extend")
    rest = own.parse_known_args(words)[1]
    seeds = [None] if options.seeds is None else range(options.seeds)
    for file, seed in product(options.each or [None], seeds):
        name = " ".join([*([Path(file).stem] if file else []), *([f"seed {seed}"] if seed is not None else [])])
        added = [*(["-b", file] if file else []), *(["--seed", str(seed)] if seed is not None else [])]
        yield Job(name, [*EDFLOW, *rest, *added])
