"""Kill trainings and reports at random moments, resume them, and compare with ones that were never interrupted.

    python scripts/soak.py                  all tasks, 20 kills each: some twenty minutes
    python scripts/soak.py --kills 3 clf    a short form
    python scripts/soak.py pair             SIGTERM, to a training of two processes, any of them or both

Weights, logs, metrics and pictures must be equal, and no other files may be left. Each command runs in a process that
is forked from this one, which has imported everything, so that kills meet the work and not the imports. A run that is
finished before it was killed often enough is compared, and another one is begun.
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
from functools import cache
from itertools import count
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
GAN = ["--Model/width", 4, "--evaluation/grid/n_images", 2, "--Loss/disc_start", 12, "--Loss/disc_width", 4]
TASKS = {
    "clf": [],
    "ae": ["--Model/width", 4, "--evaluation/grid/n_images", 2],
    "gan": GAN,
    "iin": FLOW,
    "diin": [*FLOW, "--Transformer/factor_config", "null"],
    "cinn": ["--Transformer/mid_channels", 8, "--Transformer/n_flows", 2, "--evaluation/faithfulness/n_images", 50],
    "pair": GAN,
}
PREPARED = {  # trained for others alone
    "pairs_clf": ["--Model/width", 4],
    "pairs_ae": ["--Model/width", 4, "--evaluation/grid/n_images", 2],
}
NEEDED = {  # the tasks whose networks a task takes
    "gan": ["clf"],
    "iin": ["ae"],
    "diin": ["pairs_clf", "pairs_ae"],
    "cinn": ["clf", "ae"],
    "pair": ["clf"],
}
PAIR = ["--trainer/devices", 2, "--batch_size", 10, "--trainer/limit_train_batches", 10, "--fid", "null"]
PAIR += ["--num_steps", 40, "--decay_start", 20, "--keep_checkpoints", 1]  # as each stop saves a further one
CRASHES = ("Traceback", "terminate called")  # in the output, of Python and of C++
PATIENCE = 90  # seconds in which the processes of a training that was stopped have to end


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
    duration = trained(task)
    done, found = 0, []
    longest = duration if task == "pair" else duration / 4
    for attempt in count():
        name = f"broken{attempt}"
        done += interrupted(task, name, kills - done, longest)
        found += [f"{name}: {each}" for each in differences(newest(task, "whole"), newest(task, name))]
        if done >= kills:
            break
    found += report_differences(newest(task, "whole"), kills) if task == "cinn" else []
    print(f"{task}: {done} kills met {attempt + 1} trainings; {'; '.join(found) or 'equal'}", flush=True)
    return not found


@cache
def trained(task: str) -> float:
    """Train a task without kills, after those whose networks it takes; the seconds that it took."""
    for other in NEEDED.get(task, []):
        trained(other)
    begin = time.monotonic()
    finish(words(task, "whole"))
    return time.monotonic() - begin


def interrupted(task: str, name: str, kills: int, longest: float) -> int:
    """Kill a training after up to `longest` seconds, go on with it, and so forth; the number of kills that met it."""
    stop = terminate if task == "pair" else kill
    for done in range(kills):
        if not stop(words(task, name), random.uniform(0, longest)):
            return done
    finish(words(task, name))
    return kills


def words(task: str, name: str) -> list[str]:
    """The command that begins a run of a task, or goes on with it."""
    run = newest(task, name)
    two = PAIR if task == "pair" else []
    if run is not None:
        again = ["edflow", "-p", run.path, "-t", "-l", "warning", *two]
        return [str(word) for word in again]
    config = "gan" if task == "pair" else task
    files = ["-b", DIGITS / f"{config}.yaml", *([DIGITS / "layers" / "logits.yaml"] if task == "cinn" else [])]
    # the name of the experiment is that of the config, so that others find the whole run by it
    broken = [] if name == "whole" else ["--experiment_name", f"digits_{task}_{name}"]
    settings = [*(TASKS | PREPARED)[task], *QUICK, *two]
    return [str(word) for word in ("edflow", *files, "-t", *settings, "-n", f"{task}_{name}", *broken)]


def newest(task: str, name: str) -> Run | None:
    """The run of a task that was begun last; None if there is none yet."""
    found = sorted(path.parent for path in Path("logs").glob(f"*_{task}_{name}/configs") if any(path.iterdir()))
    return Run.open(found[-1]) if found else None


def start(words: list[str]) -> int:
    """Run a command in a process and a group of its own; its number."""
    if pid := os.fork():
        return pid
    os.setsid()
    sys.stdout = sys.stderr = open("output", "w")  # noqa: SIM115  # until the process ends
    os.dup2(sys.stdout.fileno(), 1), os.dup2(sys.stdout.fileno(), 2)
    module = {"edflow": edflow, "invariances": command}[words[0]]
    sys.argv, sys.modules["__main__"] = words, module  # what Lightning starts for further devices
    code = 70
    try:
        code = module.main(words[1:])
    finally:
        sys.stdout.flush()
        os._exit(code)


def finish(words: list[str]) -> None:
    """Run a command to its end."""
    require(ended(start(words)), [0], words)


def ended(pid: int) -> int:
    """Wait for the end of a process; its exit code, which is negative after a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def require(code: int, expected: list[int], words: list[str]) -> None:
    """Raise an error if a command ended otherwise than expected, or has printed a traceback."""
    output = Path("output").read_text()
    if code not in expected or any(sign in output for sign in CRASHES):
        raise RuntimeError(f"{' '.join(words)} ended with {code}\n{output}")


def kill(words: list[str], seconds: float) -> bool:
    """Begin a command and kill it; whether it was still at work."""
    pid = start(words)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    code = ended(pid)
    require(code, [0, -signal.SIGKILL], words)
    return code != 0


def terminate(words: list[str], seconds: float) -> bool:
    """Begin a training of two processes and send SIGTERM to the first, the second, or both; whether it was at work.

    Raises:
        RuntimeError: it ended with another exit code, or a process of it goes on.
    """
    pid = start(words)
    time.sleep(seconds)
    second = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[-1:]
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(random.choice([pid, -pid, *map(int, second)]), signal.SIGTERM)
    await_end(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), pid, words)
    code = ended(pid)
    await_end(lambda: not is_at_work(pid), pid, words)
    require(code, [0, 128 + signal.SIGTERM, -signal.SIGTERM], words)
    return code != 0


def await_end(has_ended: Callable[[], object], group: int, words: list[str]) -> None:
    """Wait until a command that was stopped has ended; after `PATIENCE` seconds kill it and raise an error."""
    deadline = time.monotonic() + PATIENCE
    while not has_ended():
        if time.monotonic() > deadline:
            os.killpg(group, signal.SIGKILL)
            raise RuntimeError(f"{' '.join(words)} goes on after SIGTERM\n{Path('output').read_text()}")
        time.sleep(0.1)


def is_at_work(group: int) -> bool:
    """Whether a group of processes has any left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


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
    done = 0
    while done < kills:
        done += kill([*report, "broken"], random.uniform(0, duration))
    finish([*report, "broken"])
    print(f"report: {done} kills met a report", flush=True)
    names = [{path.name for path in Path(folder).rglob("*")} for folder in ("whole", "broken")]
    return [f"report: {name}" for name in sorted(names[0] ^ names[1])]


if __name__ == "__main__":
    sys.exit(main())
