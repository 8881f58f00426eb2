"""Kills and signals at any moment: nothing is lost, and the resumed run ends as one that was never interrupted."""

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from invariances.cli import edflow
from invariances.data.base import ImageSet
from invariances.iterators import Iterator
from invariances.training import callbacks, saving
from invariances.training.run import Run
from invariances.utils import checkpoints

HERE = "tests.training.test_stops"
CONFIG = {
    "experiment_name": "stops",
    "model": f"{HERE}.Scale",
    "iterator": f"{HERE}.Fit",
    "datasets/train": f"{{class: {HERE}.Pictures, n: 40}}",
    "datasets/validation": f"{{class: {HERE}.Pictures, n: 20}}",
    "evaluation/mean/class": f"{HERE}.Mean",
    "batch_size": "10",
    "learning_rate": "1e-2",
    "num_steps": "12",
    "ckpt_freq": "4",
    "log_freq": "1",
    "trainer/accelerator": "cpu",
}


class Pictures(ImageSet):
    """Grey pictures of 4 × 4 pixels."""

    def __init__(self, n, seed=0):
        pixels = np.random.default_rng(0).integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)
        super().__init__(pixels, {"class": torch.arange(n) % 10}, seed)


class Scale(nn.Module):
    """Scales images by one number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x


class Fit(Iterator):
    """Makes the images brighter."""

    def terms(self, batch):
        return {"loss": (self.model(batch["image"]) - 1).square().mean()}


class Mean:
    """The mean of the scaled images."""

    def __call__(self, iterator, loader, folder):
        return {"mean": sum(float(iterator.model(batch["image"]).mean()) for batch in loader)}


class Killed(BaseException):
    """Stands for SIGKILL in this process: nothing but `finally` and `with` runs after it."""


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def words(**changes):
    Path("a.yaml").write_text("notes: a config\n")
    settings = [word for key, value in (CONFIG | changes).items() for word in (f"--{key}", value)]
    return ["-b", "a.yaml", "-t", *settings]


def train(**changes):
    """The run of a training, and its exit code."""
    code = edflow.main(words(**changes))
    return Run.open("logs/latest"), code


def table(run):
    with (run.path / "train/csv/metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def evaluations(run):
    """step -> metrics.json, without the time."""
    found = {path.parent.name: json.loads(path.read_text()) for path in run.path.glob("train/eval/*/metrics.json")}
    return {int(name[5:]): facts | {"time": ""} for name, facts in found.items()}


def require_equal(ours, theirs):
    """Weights, logs and evaluations of two runs are the same, and no other files are left."""
    names = [{path.name for path in run.checkpoints.iterdir()} for run in (ours, theirs)]
    assert names[0] == names[1]
    for name in names[0]:
        states = [checkpoints.weights_of(checkpoints.load(run.checkpoints / name)) for run in (ours, theirs)]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items()), name
    assert table(ours) == table(theirs)
    assert evaluations(ours) == evaluations(theirs)
    assert not [path for path in ours.path.rglob(".*")] and not list(ours.path.rglob("*.part"))


MOMENTS = {
    "after a checkpoint is written": (saving.Checkpoints, "save_if_due", 8),
    "before a checkpoint is published": (saving.checkpoints, "publish", 8),
    "in the evaluation of a step with a checkpoint": (callbacks, "evaluate", 8),
    "in the last evaluation": (callbacks, "evaluate", 12),
    "in the first evaluation": (callbacks, "evaluate", 4),
    "after an evaluation, before it is logged": (callbacks, "_show_pictures", 8),
}


def killed_at(monkeypatch, owner, name, step):
    """Raise Killed after the call of a function at a step."""
    call, steps = getattr(owner, name), []
    count = callbacks.StepCounter.on_train_batch_end

    def counted(self, trainer, pl_module, *rest):
        count(self, trainer, pl_module, *rest)
        steps.append(int(pl_module.step))

    def patched(*args, **kwargs):
        result = None if name == "publish" and steps[-1] == step else call(*args, **kwargs)
        if steps and steps[-1] == step:
            raise Killed
        return result

    monkeypatch.setattr(callbacks.StepCounter, "on_train_batch_end", counted)
    monkeypatch.setattr(owner, name, patched)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_is_made_whole(moment, monkeypatch):
    settings = {"keep_best": "mean", "early_stopping": "10", "keep_checkpoints": "2"}
    whole, _ = train(**settings)
    with monkeypatch.context() as patch:
        killed_at(patch, *MOMENTS[moment])
        with pytest.raises(Killed):
            train(experiment_name="broken", **settings)
    broken = Run.open("logs/latest")
    (broken.checkpoints / "model-99.ckpt.part").touch()  # of a save that was killed
    assert edflow.main(["-p", str(broken.path), "-t"]) == 0
    if moment == "in the last evaluation":
        (broken.checkpoints / "model-99.ckpt.part").unlink()  # no training began
    require_equal(broken, whole)


def test_an_evaluation_of_which_something_is_missing_is_made_up_for(monkeypatch, caplog):
    whole, _ = train()
    with monkeypatch.context() as patch:
        patch.setattr(Mean, "__call__", lambda *_: 1 / 0)
        broken, code = train(experiment_name="broken")
    assert code == 0 and list(evaluations(broken)[12]["missing"]) == ["mean"]
    assert edflow.main(["-p", str(broken.path), "-t"]) == 0
    assert evaluations(broken)[12] == evaluations(whole)[12]
    before = {path: path.stat().st_mtime_ns for path in broken.path.glob("train/**/*")}
    with caplog.at_level("INFO"):
        assert edflow.main(["-p", str(broken.path), "-t"]) == 0  # and is whole now
    assert "has finished its 12 steps" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in broken.path.glob("train/**/*")} == before


def stop_in_evaluation(monkeypatch, signum, step):
    def call(self, iterator, loader, folder):
        if int(iterator.step) == step:
            os.kill(os.getpid(), signum)
        return original(self, iterator, loader, folder)

    original = Mean.__call__
    monkeypatch.setattr(Mean, "__call__", call)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("steps", ["12", "10"])  # the last evaluation is part of the training, or comes after it
def test_a_signal_in_the_last_evaluation(signum, steps, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stop_in_evaluation(patch, signum, int(steps))
        run, code = train(num_steps=steps)
    assert code == 128 + signum and f"stopped by {signum.name}" in capsys.readouterr().err
    assert int(steps) not in evaluations(run)
    assert edflow.main(["-p", str(run.path), "-t"]) == 0
    assert evaluations(run)[int(steps)]["missing"] == {}
    assert signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler)


@pytest.mark.parametrize("step", [4, 6, 8])  # a signal in an evaluation with a checkpoint, or between two
def test_a_signal_between_resumes_to_the_same_run(step, monkeypatch):
    settings = {"ckpt_freq": "8", "keep_checkpoints": "9"}
    whole, _ = train(**settings)
    with monkeypatch.context() as patch:
        if step == 6:
            count = callbacks.StepCounter.on_train_batch_end

            def counted(self, trainer, pl_module, *rest):
                count(self, trainer, pl_module, *rest)
                if int(pl_module.step) == 6:
                    os.kill(os.getpid(), signal.SIGUSR1)

            patch.setattr(callbacks.StepCounter, "on_train_batch_end", counted)
        else:
            stop_in_evaluation(patch, signal.SIGUSR1, step)
        broken, code = train(experiment_name="broken", **settings)
    assert code == 128 + signal.SIGUSR1
    assert edflow.main(["-p", str(broken.path), "-t"]) == 0
    for path in set(broken.checkpoints.iterdir()):
        if not (whole.checkpoints / path.name).exists():
            path.unlink()  # saved by the signal
    require_equal(broken, whole)
