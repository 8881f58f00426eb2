"""Mutate configs, checkpoints and run folders at random, and count what goes wrong.

    python scripts/fuzz_configs.py --configs 1000 --checkpoints 300 --runs 200 --seed 0
    python scripts/fuzz_configs.py --configs 40 --checkpoints 10 --runs 10 --complete

Each case runs `edflow` in a process and a folder of its own. Counted are tracebacks, hangs (20 s of computing, or
`--patience`), folders that a refused start leaves half made, and files in other places. The processes are forked from
this one, which has imported everything; with `--complete` they begin as those of a user do. A case is repeated by its
number: `--only configs:17`.
"""

import argparse
import contextlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml

from invariances.cli import edflow
from invariances.training import engine  # noqa: F401  (imported once, before the processes part)

SECONDS = 20  # of computing
BAD_VALUES = [
    *(None, True, -1, 0, 1, 3, 10**6, 10**9, 10**30, -(10**9), 0.5, -2.5, 1e-300, 1e300, float("nan"), float("inf")),
    *("", "a", "../..", "/etc/passwd", "$\\frac{$", "\u0000", "x" * 300, "latest:", "os.system", "torch.nn.Linear"),
    *([], [1], [[]], [None] * 5, {}, {"class": None}, {"class": "torch.nn.Linear"}, {"a": {"b": 1}}),
    *({"checkpoint": "a"}, {"checkpoint": "a", "layer": "b"}),
]
KEYS = ["fid", "trainer", "Model", "Loss", "Transformer", "keep_best", "seed", "n_data_processes", "evaluation", "x"]
TRAINER = ["devices", "num_nodes", "min_steps", "precision", "strategy", "max_time", "limit_val_batches", "profiler"]
TRAINING = ["optimizer_states", "lr_schedulers", "loops", "callbacks", "networks", "epoch", "global_step"]
TRAINING_ON = r"\| [1-9]\d*/\d{6,} \["  # of a run of so many steps, which is no fault
UNCOUNTED = {"data", "source", "home", "tmp"}  # folders in the home of the cases
CONFIGS = ["clf", "ae", "gan", "diin", "cinn", "iin"]
NETWORKS = ["clf", "ae", "pairs_clf", "pairs_ae"]  # that these need


def bad(random: random.Random) -> Any:
    """A value that few keys take, a copy: later changes may be made inside it."""
    return deepcopy(random.choice(BAD_VALUES))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in nested dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def mutate(value: Any, random: random.Random) -> None:
    """Change a nested dict in place: set, delete, add or move a few values."""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        if not value:
            return
        *parents, last = random.choice([place for place in places(value) if place])
        holder = value
        for key in parents:
            holder = holder[key]
        action = random.choice(["set", "set", "set", "delete", "add"])
        if action == "set":
            holder[last] = bad(random)
        elif action == "delete":
            del holder[last]
        elif isinstance(holder, dict):
            holder[random.choice(KEYS)] = bad(random)
        if random.random() < 0.2:
            value.setdefault("trainer", {})
            if isinstance(value["trainer"], dict):
                value["trainer"][random.choice(TRAINER)] = bad(random)


def settings(source: Path, name: str) -> dict[str, Any]:
    """A shipped config, with the networks that `prepare` has trained."""
    text = (source / "configs" / "digits" / f"{name}.yaml").read_text()
    return yaml.safe_load(re.sub(r"latest:digits_(\w+)", rf"{source}/\1.ckpt", text))


def config_case(folder: Path, source: Path, random: random.Random) -> list[str]:
    """A shipped config with changes, trained for two steps."""
    config = settings(source, random.choice(CONFIGS))
    config |= {"num_steps": 2, "evaluation": None, "batch_size": 8}
    mutate(config, random)
    (folder / "a.yaml").write_text(yaml.safe_dump(config))
    return ["-b", "a.yaml", "-t"] + (["-d"] if random.random() < 0.2 else [])


def run_case(folder: Path, source: Path, random: random.Random) -> list[str]:
    """A run of two steps with a file replaced, cut, linked elsewhere or removed, resumed or evaluated."""
    shutil.copytree(source / "run", folder / "run", symlinks=True)
    for _ in range(random.choice([1, 1, 2])):
        path = random.choice(sorted(p for p in (folder / "run").rglob("*") if p.is_file()))
        content = path.read_bytes()
        action = random.choice(["cut", "flip", "empty", "folder", "link", "delete", "other", "mutate"])
        path.unlink()
        if action == "cut":
            path.write_bytes(content[: random.randrange(len(content) + 1)])
        elif action == "flip":
            changed = bytearray(content or b"x")
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
            path.write_bytes(changed)
        elif action == "empty":
            path.touch()
        elif action == "folder":
            path.mkdir()
        elif action == "link":
            path.symlink_to(random.choice(["/etc/passwd", "/dev/zero", "nowhere", str(source / "victim"), "."]))
        elif action == "other":
            path.write_bytes(random.choice([b"[" * 5000, b"\xff" * 99, b"{}", b"a: 1", b"<html>", b"\x80\x04."]))
        elif action == "mutate" and path.suffix == ".yaml":
            with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError, AttributeError):  # changed before
                config = yaml.safe_load(content)
                mutate(config, random)
                path.write_text(yaml.safe_dump(config))
    return ["-p", "run"] + (["-t", "--num_steps", "4"] if random.random() < 0.5 else [])


def checkpoint_case(folder: Path, source: Path, random: random.Random) -> list[str]:
    """A checkpoint with changed entries, used as weights, to resume, or as the network of another config."""
    shutil.copytree(source / "run", folder / "run")
    path = next((folder / "run" / "train" / "checkpoints").glob("model-*.ckpt"))
    state = torch.load(path, weights_only=True)
    part = random.choice(["config", "weights", "training"])
    if part == "config":
        mutate(state["config"], random)
    elif part == "training":
        for name in random.sample(TRAINING, 2):
            mutate(state[name] if isinstance(state[name], dict) else {name: state[name]}, random)
        if random.random() < 0.3:
            state[random.choice(TRAINING)] = bad(random)
    else:
        weights = state["state_dict"]
        name = random.choice(list(weights))
        tensor = weights[name]
        weights[name] = random.choice(
            [tensor * float("nan"), tensor[None], tensor.double(), tensor.flatten()[:1], tensor - 10**6, None, 3, "x"]
        )
        if random.random() < 0.5:
            weights["step"] = random.choice([torch.tensor(float("nan")), None, torch.tensor(-1), 10**30, torch.ones(3)])
        if random.random() < 0.3:
            mutate(state, random)
    torch.save(state, path)
    greybox = ["-b", str(source / "cinn.yaml"), "-t", "--GreyboxModel/checkpoint", str(path)]
    return random.choice([["-p", "run"], ["-p", "run", "-t", "--num_steps", "4"], greybox])


CASES: dict[str, Callable[[Path, Path, random.Random], list[str]]] = {
    "configs": config_case,
    "checkpoints": checkpoint_case,
    "runs": run_case,
}


def child(folder: Path, words: list[str], complete: bool) -> None:
    """Run `edflow` in this process, which then ends."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_AS, (16 * 10**9, 16 * 10**9))
    os.chdir(folder)
    with (folder.parent / f"{folder.name}.txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        if complete:
            os.execv(sys.executable, [sys.executable, "-m", "invariances.cli.edflow", *words])
        sys.argv, sys.modules["__main__"] = ["edflow", *words], edflow  # what Lightning starts for further devices
        code = 70
        try:
            code = edflow.main(words)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def elsewhere(home: Path) -> dict[Path, int]:
    """The files that no case may make, change or delete, with their times."""
    places = [path for name in ("source", "home", "tmp") for path in (home / name).rglob("*") if path.is_file()]
    return {path: path.lstat().st_mtime_ns for path in [*places, *home.iterdir()] if path.name not in UNCOUNTED}


def run(
    kind: str, number: int, options: argparse.Namespace, source: Path, home: Path
) -> tuple[list[str], int, str]:
    """Run one case; returns what is wrong with it, its exit code and its output."""
    folder = home / f"{kind}-{number}"
    folder.mkdir()
    words = CASES[kind](folder, source, random.Random(f"{options.seed} {kind} {number}"))
    before, others = {path.name for path in folder.iterdir()}, elsewhere(home)
    started, process = time.monotonic(), os.fork()
    if process == 0:
        child(folder, words, options.complete)
    while not (ended := os.waitpid(process, os.WNOHANG))[0] and time.monotonic() - started < options.patience:
        time.sleep(0.02)
    wrong = [] if ended[0] else ["hang"]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(ended[1]) if ended[0] else os.waitpid(process, 0)[1]
    output = (home / f"{kind}-{number}.txt").read_text(errors="replace")
    if ended[0] and code == -signal.SIGXCPU:
        wrong += [] if re.search(TRAINING_ON, output) else ["hang"]
    elif ended[0] and (code < 0 or ((code == 70 or "Traceback (most" in output) and "-d" not in words)):
        wrong.append("killed" if code < 0 else "traceback")
    made = {path.name for path in folder.iterdir()} - before - {".invariances.yaml"}
    if code == 2 and "logs" in made and not list(folder.glob("logs/*/train/**/*.*")):
        wrong.append("partial folder")
    if unexpected := made - {"logs"}:
        wrong.append(f"made {sorted(unexpected)}")
    if changed := {path for path, _ in elsewhere(home).items() ^ others.items()} - {folder, folder.with_suffix(".txt")}:
        wrong.append(f"changed {sorted(map(str, changed))}")
    return wrong, code, f"edflow {' '.join(words)}\n{output}"


def prepare(source: Path) -> None:
    """A run of two steps to damage, the configs, networks for them, and a file that no case may change."""
    shutil.copytree(Path(__file__).parents[1] / "configs", source / "configs")
    (source / "victim").write_text("mine")
    here = Path.cwd()
    os.chdir(source)
    for name in NETWORKS:
        words = ["-b", f"configs/digits/{name}.yaml", "-t", "--num_steps", "2", "-l", "error", "--batch_size", "8"]
        assert edflow.main([*words, "--Model/width", "4", "--evaluation", "null"]) == 0
        shutil.copy("logs/latest/train/checkpoints/model-2.ckpt", f"{name}.ckpt")
        if name == "clf":
            os.rename(Path("logs/latest").resolve(), "run")
    cinn = settings(source, "cinn") | {"num_steps": 2, "evaluation": None}
    (source / "cinn.yaml").write_text(yaml.safe_dump(cinn))
    os.chdir(here)


def main() -> int:
    """Run the cases; return 1 if something is wrong with one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in CASES:
        parser.add_argument(f"--{kind}", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--complete", action="store_true", help="run whole processes, some seconds each")
    parser.add_argument("--patience", type=float, default=120, help="seconds; more on a busy machine (default: 120)")
    parser.add_argument("--verbose", action="store_true", help="print the output of all cases")
    parser.add_argument("--only", metavar="KIND:NUMBER")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    folders = {"HOME": "home", "TMPDIR": "tmp"}
    folders |= dict.fromkeys(("INVARIANCES_DATA", "TORCH_HOME", "MPLCONFIGDIR"), "data")
    for variable, name in folders.items():
        (home / name).mkdir(exist_ok=True)
        os.environ[variable] = str(home / name)
    source = home / "source"
    prepare(source)
    todo = [(kind, number) for kind in CASES for number in range(getattr(options, kind))]
    if options.only:
        todo = [(options.only.partition(":")[0], int(options.only.partition(":")[2]))]
    counts: Counter[str] = Counter()
    n_wrong = 0
    for kind, number in todo:
        wrong, code, output = run(kind, number, options, source, home)
        counts.update([kind, f"{kind}: exit {code}", *(f"{kind}: {each}" for each in wrong)])
        n_wrong += bool(wrong)
        if wrong or options.only or options.verbose:
            print(f"{kind}:{number}: {', '.join(wrong)}\n{(output if options.only else output[-1500:])}\n", flush=True)
        shutil.rmtree(home / f"{kind}-{number}", ignore_errors=True)
        assert (source / "victim").read_text() == "mine"
    print(dict(counts), flush=True)
    shutil.rmtree(home, ignore_errors=True)
    return int(n_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
