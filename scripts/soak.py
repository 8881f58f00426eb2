"""Kill trainings and reports at random moments, resume them, and compare with ones that were never interrupted.

    python scripts/soak.py                  all tasks, 20 kills each: some ten minutes
    python scripts/soak.py --kills 3 clf    a short form

Weights, logs, metrics and pictures must be equal, and no other files may be left. Each command runs in a process that
is forked from this one, which has imported everything, so that kills meet the work and not the imports.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from invariances.cli import edflow
from invariances.cli import invariances as command
from invariances.training import engine  # noqa: F401  # imported once, before the forks
from invariances.training.run import Run
from invariances.utils import checkpoints

DIGITS = Path(__file__).resolve().parents[1] / "configs" / "digits"
QUICK = ["--batch_size", 150, "--num_steps", 80, "--decay_start", 40, "--ckpt_freq", 5, "--log_freq", 5]
QUICK += ["--trainer/check_val_every_n_epoch", 1, "--trainer/accelerator", "cpu", "-l", "warning"]
FLOW = ["--Transformer/hidden_dim", 8, "--Transformer/n_flow", 2, "--evaluation/grid/n_images", 2]
TASKS = {  # in an order in which each finds the networks that it needs
    "clf": [],
    "ae": ["--Model/width", 4, "--evaluation/grid/n_images", 2],
    "gan": ["--Model/width", 4, "--evaluation/grid/n_images", 2, "--Loss/disc_start", 12, "--Loss/disc_width", 4],
    "iin": FLOW,
    "pairs_clf": ["--Model/width", 4],
    "pairs_ae": ["--Model/width", 4, "--evaluation/grid/n_images", 2],
    "diin": [*FLOW, "--Transformer/factor_config", "null"],
    "cinn": ["--Transformer/mid_channels", 8, "--Transformer/n_flows", 2, "--evaluation/faithfulness/n_images", 50],
}
PREPARED = ("pairs_clf", "pairs_ae")  # trained for others, without kills


def main() -> int:
    """Run the tasks; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--kills", type=int, default=20, help="number of kills in each task (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return int(any([not soaked(task, options.kills) for task in options.tasks]))


def soaked(task: str, kills: int) -> bool:
    """Whether a task came out the same with and without kills."""
    begin = time.monotonic()
    finish(words(task, "whole"))
    duration = time.monotonic() - begin
    if task in PREPARED:
        return True
    whole, done = newest(task, "whole"), 0
    for _ in range(kills):
        done += kill(lambda: words(task, "broken"), random.uniform(0, duration / 4))
    finish(words(task, "broken"))
    found = differences(whole, newest(task, "broken"))
    found += report_differences(whole, kills) if task == "cinn" else []
    print(f"{task}: {done} kills met a training; {'; '.join(found) or 'equal'}", flush=True)
    return not found


def words(task: str, name: str) -> list[str]:
    """The command that begins a run of a task, or goes on with it."""
    run = newest(task, name)
    if run is not None:
        return ["edflow", "-p", str(run.path), "-t", "-l", "warning"]
    files = ["-b", DIGITS / f"{task}.yaml", *([DIGITS / "layers" / "logits.yaml"] if task == "cinn" else [])]
    # the name of the experiment is that of the config, so that others find the whole run by it
    broken = ["--experiment_name", f"digits_{task}_broken"] if name == "broken" else []
    return [str(word) for word in ("edflow", *files, "-t", *TASKS[task], *QUICK, "-n", f"{task}_{name}", *broken)]


def newest(task: str, name: str) -> Run | None:
    """The run of a task that was begun last; None if there is none yet."""
    found = sorted(path.parent for path in Path("logs").glob(f"*_{task}_{name}*/configs") if any(path.iterdir()))
    return Run.open(found[-1]) if found else None


def start(words: list[str]) -> int:
    """Run a command in a process of its own; its number."""
    if pid := os.fork():
        return pid
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    main = {"edflow": edflow.main, "invariances": command.main}[words[0]]
    os._exit(main(words[1:]))


def finish(words: list[str]) -> None:
    """Run a command to its end."""
    _, status = os.waitpid(start(words), 0)
    if status:
        raise RuntimeError(f"{' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")


def kill(make: Callable[[], list[str]], seconds: float) -> bool:
    """Begin a command and kill it; whether it was still at work."""
    pid = start(make())
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def differences(whole: Run, broken: Run) -> list[str]:
    """What is not the same in two runs, without the times, configs and files of TensorBoard."""
    ours, theirs = files(broken.path), files(whole.path)
    found = [f"only in {'broken' if name in ours else 'whole'}: {name}" for name in sorted(ours ^ theirs)]
    return found + [f"differs: {name}" for name in sorted(ours & theirs) if not same(broken.path, whole.path, name)]


def files(folder: Path) -> set[str]:
    """The files of a run, with hidden ones."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(("configs/", "train/tensorboard/"))}


def same(one: Path, other: Path, name: str) -> bool:
    """Whether a file is the same in two runs."""
    return content(one / name) == content(other / name)


def content(path: Path) -> object:
    """What a file holds, without the time."""
    if path.suffix == ".ckpt":
        weights = checkpoints.weights_of(checkpoints.load(path))
        return {name: (value.shape, value.numpy().tobytes()) for name, value in weights.items()}
    if path.suffix == ".json":
        return json.loads(path.read_text()) | {"time": ""}
    if path.suffix == ".csv":
        with path.open() as file:
            return list(csv.DictReader(file))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: array.tobytes() for name, array in arrays.items()}
    return path.read_bytes()


def report_differences(run: Run, kills: int) -> list[str]:
    """What is left of reports that were killed, after one that was not."""
    report = ["invariances", "report", str(run.path), "-o"]
    begin = time.monotonic()
    finish([*report, "whole"])
    duration = time.monotonic() - begin
    done = sum(kill(lambda: [*report, "broken"], random.uniform(0, duration)) for _ in range(kills))
    finish([*report, "broken"])
    print(f"report: {done} kills met a report", flush=True)
    names = [{path.name for path in Path(folder).rglob("*")} for folder in ("whole", "broken")]
    return [f"report: {name}" for name in sorted(names[0] ^ names[1])]


if __name__ == "__main__":
    sys.exit(main())
