"""One training of a study, also as a command: `python -m invariances.studies.steps CONFIG FOLDER`.

It begins the run of the config in the folder, or goes on with it where it stopped. As a command it ends with the
process that started it, as if by SIGTERM.
"""

import json
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from invariances.errors import Stopped, UserError
from invariances.studies.recipes import Recipe
from invariances.training.run import UNFINISHED, Run
from invariances.training.start import start
from invariances.utils.files import held_by_one
from invariances.utils.signals import raise_on_signals

ENDED = re.compile(r"ended with exit code (\d+) after (\d+) s")  # line of `run_jobs`
WATCH = 1.0  # seconds between two looks at whether the parent is there


def is_done(recipe: Recipe, study: Path) -> bool:
    """Whether a training has come to its end, with its evaluation."""
    path = recipe.metrics(study)
    return path.exists() and not (path.parent / UNFINISHED).exists() and recipe.checkpoint(study).exists()


def results(recipe: Recipe, study: Path) -> dict[str, Any]:
    """The contents of `metrics.json` of a training that is done."""
    return json.loads(recipe.metrics(study).read_text(encoding="utf-8"))


def seconds_taken(recipe: Recipe, study: Path) -> float | None:
    """Seconds of all starts of a training, by its log, which earlier ones of its name share; None if it tells none."""
    path, own, found = recipe.log(study), False, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.endswith(recipe.folder(study).name):
            own = True
        elif match := ENDED.match(line):
            found += [float(match[2])] if own else []
            own = False
    return sum(found) if found else None


def train(config: Path, folder: Path) -> None:
    """Begin the run of a config in a folder, or go on with it from its last checkpoint."""
    if folder.exists():
        _wait_for_earlier(folder)
    if Run(folder).has_checkpoints:
        start([], train=True, project=str(folder))
    else:
        shutil.rmtree(folder, ignore_errors=True)  # of a start that was killed before its first checkpoint
        start([config], train=True, folder=folder)


def _wait_for_earlier(folder: Path) -> None:
    """Wait until the training that an earlier, killed study has left behind has saved and ended."""
    while True:
        with held_by_one(folder / ".training") as holder:
            if holder is None:
                return
        time.sleep(WATCH)


def main(words: list[str]) -> int:
    """Train; returns the exit code."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("invariances").setLevel("WARNING")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        with raise_on_signals():
            train(Path(words[0]), Path(words[1]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    return 0


def _end_with(parent: int) -> None:
    """Stop this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
