"""Kills and signals at any moment: nothing is lost, and the resumed run ends as one that was never interrupted."""

import csv
import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from invariances.cli import edflow
from invariances.cli import invariances as command
from invariances.data.base import ImageSet
from invariances.evaluation import base
from invariances.evaluation.report import page as report_page
from invariances.iterators import Iterator
from invariances.training import callbacks, saving
from invariances.training.loggers import csv as csv_log
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
    before = signal.getsignal(signum)  # SIGINT is ignored in a shell's background jobs
    with monkeypatch.context() as patch:
        stop_in_evaluation(patch, signum, int(steps))
        run, code = train(num_steps=steps)
    assert code == 128 + signum and f"stopped by {signum.name}" in capsys.readouterr().err
    assert int(steps) not in evaluations(run)
    assert edflow.main(["-p", str(run.path), "-t"]) == 0
    assert evaluations(run)[int(steps)]["missing"] == {}
    assert signal.getsignal(signum) == before


@pytest.mark.parametrize("step", [4, 6, 8])  # a signal in an evaluation with a checkpoint, or between two
def test_a_signal_between_resumes_to_the_same_run(step, monkeypatch):
    settings = {"ckpt_freq": "8", "keep_checkpoints": "9"}
    whole, _ = train(**settings)
    with monkeypatch.context() as patch:
        if step == 6:
            stop_after(patch, 6, signal.SIGUSR1)
        else:
            stop_in_evaluation(patch, signal.SIGUSR1, step)
        broken, code = train(experiment_name="broken", **settings)
    assert code == 128 + signal.SIGUSR1
    assert edflow.main(["-p", str(broken.path), "-t"]) == 0
    for path in set(broken.checkpoints.iterdir()):
        if not (whole.checkpoints / path.name).exists():
            path.unlink()  # saved by the signal
    require_equal(broken, whole)


def test_c08_two_resumes_of_one_run(capsys):
    run, _ = train()
    words = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        before = sorted(run.path.rglob("*"))
        assert edflow.main(["-p", str(run.path), "-t", "--num_steps", "14"]) == 2
        message = f"{run.path} is being trained by process {holder.pid}; wait until it ends, or stop it"
        assert message in capsys.readouterr().err
        assert sorted(run.path.rglob("*")) == before
        holder.kill()  # leaves its file, and frees the run
    assert edflow.main(["-p", str(run.path), "-t", "--num_steps", "14"]) == 0
    assert not (run.path / ".training").exists()


HOLD = """
import sys
from pathlib import Path
from invariances.utils.files import held_by_one
with held_by_one(Path(sys.argv[1], ".training")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_c26_changed_settings_are_shown_on_resume(caplog):
    run, _ = train()
    with caplog.at_level("INFO"):
        assert edflow.main(["-p", str(run.path), "-t", "--batch_size", "5", "--num_steps", "13"]) == 0
    lines = [record.message for record in caplog.records]
    assert [line for line in lines if " -> " in line] == ["batch_size: 10 -> 5", "num_steps: 12 -> 13"]


def test_c13_runs_are_ordered_by_an_instant(monkeypatch):
    """The later run is begun in a zone whose clock is nine hours behind."""
    for zone in ("Asia/Tokyo", "UTC"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        newest, _ = train(experiment_name="same")
        time.sleep(1)
    assert Run.find("latest:same").path == newest.path
    assert edflow.main(["-p", str(newest.path), "-t", "--num_steps", "13"]) == 0
    assert newest.config()["num_steps"] == 13
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("stop", [3, 6, 8])
def test_c06_stops_amid_gradient_accumulation(stop, monkeypatch):
    settings = {"trainer/accumulate_grad_batches": "2", "num_steps": "14", "batch_size": "8", "ckpt_freq": "5"}
    whole, _ = train(**settings)  # epochs of five batches: the last one of each has an optimiser step of its own
    with monkeypatch.context() as patch:
        stop_after(patch, stop)
        broken, code = train(experiment_name="broken", **settings)
    assert code == 143
    assert edflow.main(["-p", str(broken.path), "-t"]) == 0
    weights = [checkpoints.load(run.last_checkpoint())["state_dict"] for run in (broken, whole)]
    assert torch.equal(weights[0]["model.scale"], weights[1]["model.scale"])
    assert table(broken) == table(whole)


@pytest.mark.parametrize("stop", [3, 4], ids=["at the end of an epoch", "within one"])
def test_a_stop_where_epochs_leave_batches_out(stop, monkeypatch):
    settings = {"trainer/limit_train_batches": "3", "ckpt_freq": "1", "keep_checkpoints": "all"}
    whole, _ = train(**settings)
    with monkeypatch.context() as patch:
        stop_after(patch, stop)
        broken, code = train(experiment_name="broken", **settings)
    assert code == 143 and broken.last_checkpoint().name == f"model-{stop}.ckpt"
    assert edflow.main(["-p", str(broken.path), "-t"]) == 0
    require_equal(broken, whole)


def stop_after(patch, step, signum=signal.SIGTERM):
    """Send this process a signal during a step."""
    count = callbacks.StepCounter.on_train_batch_end

    def counted(self, trainer, pl_module, *rest):
        count(self, trainer, pl_module, *rest)
        if int(pl_module.step) == step:
            os.kill(os.getpid(), signum)

    patch.setattr(callbacks.StepCounter, "on_train_batch_end", counted)


class Poisoned(Pictures):
    """Pictures, one of which is NaN."""

    def make(self, index, streams):
        batch = super().make(index, streams)
        batch["image"][index == 3] = math.nan
        return batch


def test_c07_nan_on_validation_images_only(caplog, capsys):
    run, code = train(**{"datasets/validation": f"{{class: {HERE}.Poisoned, n: 20}}", "keep_best": "validation/loss"})
    assert code == 0 and run.last_checkpoint().name == "model-12.ckpt"
    for facts in evaluations(run).values():
        assert facts["missing"] == {"validation": "not finite: validation/loss = nan"}
    assert not (run.checkpoints / "best.ckpt").exists()
    assert edflow.main(["-p", str(run.path)]) == 2
    assert "evaluation validation is missing (not finite: validation/loss = nan)" in capsys.readouterr().err


def test_C05_weights_that_are_not_finite_are_never_saved(monkeypatch, capsys):
    count = callbacks.StepCounter.on_train_batch_end

    def counted(self, trainer, pl_module, *rest):
        count(self, trainer, pl_module, *rest)
        if int(pl_module.step) == 7:
            pl_module.model.lively.running_var.fill_(math.nan)

    monkeypatch.setattr(callbacks.StepCounter, "on_train_batch_end", counted)
    run, code = train(model=f"{HERE}.Still")
    assert code == 2
    assert "step 8: 1 weights are not finite, first model.lively.running_var; nothing was saved" in (
        capsys.readouterr().err
    )
    assert [path.name for path in run.checkpoints.iterdir()] == ["model-4.ckpt"]


class Still(Scale):
    """A network of which a part is in eval mode."""

    def __init__(self):
        super().__init__()
        self.still, self.lively = nn.BatchNorm2d(1).eval(), nn.BatchNorm2d(1)

    def forward(self, x):
        return super().forward(self.lively(self.still(x)))


class FitWithViews(Fit):
    """A task with pictures."""

    def views(self, images, n_samples, generator):
        assert not self.training and not self.model.lively.training
        return [("image", images)]


def test_c10_modes_are_restored_module_by_module():
    run, _ = train(model=f"{HERE}.Still", iterator=f"{HERE}.FitWithViews", **{"evaluation/grid/n_images": "2"})
    weights = checkpoints.load(run.last_checkpoint())["state_dict"]
    batches = {name: int(weights[f"model.{name}.num_batches_tracked"]) for name in ("still", "lively")}
    assert batches == {"still": 0, "lively": 12}
    assert len(list(run.path.glob("train/pictures/*.png"))) == 12


def test_c17_one_step_axis():
    run, _ = train()
    rows = table(run)
    losses, evaluated = ([int(row["step"]) for row in rows if name in row] for name in ("train/loss", "mean"))
    assert losses == list(range(1, 13)) and evaluated == [4, 8, 12] == sorted(evaluations(run))
    events = EventAccumulator(str(run.path / "train/tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == losses
    assert [event.step for event in events.Scalars("mean")] == evaluated


class FitKilledOnce(Fit):
    """Kills its process after a step, on the first start."""

    def training_step(self, batch, batch_idx):
        if int(self.step) == int(os.environ["KILLED_AT"]) and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 7], ids=["before the first checkpoint", "after one"])
def test_tensorboard_has_each_step_once_after_a_kill(step, monkeypatch):
    monkeypatch.setenv("KILLED_AT", str(step))
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    command = [sys.executable, "-m", "invariances.cli.edflow", *words(iterator=f"{HERE}.FitKilledOnce")]
    assert subprocess.run(command, timeout=200).returncode == -signal.SIGKILL
    time.sleep(1)  # TensorBoard reads files in the order of their names, which have the second and the process number
    assert edflow.main(["-p", "logs/latest", "-t"]) == 0
    run = Run.open("logs/latest")
    events = EventAccumulator(str(run.path / "train/tensorboard")).Reload()
    steps = [event.step for event in events.Scalars("train/loss")]
    assert steps == [int(row["step"]) for row in table(run) if "train/loss" in row] == list(range(1, 13))


def test_c14_overfit_batches_takes_the_same_examples_again(monkeypatch):
    seen = []
    make = Pictures.make
    monkeypatch.setattr(Pictures, "make", lambda self, index, streams: seen.append(index) or make(self, index, streams))
    train(**{"trainer/overfit_batches": "2", "datasets/validation/n": "1"})
    trained = [set(index.tolist()) for index in seen if len(index) == 10]
    assert len(trained) == 12 and set().union(*trained) == set(range(20))


def test_no_half_report_is_left(monkeypatch, capsys):
    monkeypatch.setattr(report_page, "_evaluated", lambda group: (SimpleNamespace(layer=None, factors={"a": 1}), {}))
    monkeypatch.setattr(report_page, "_by_depth", lambda evaluated: [])
    monkeypatch.setattr(report_page, "factor_section", lambda run, stored, folder: (folder / "a.png").touch())
    monkeypatch.setattr(report_page, "_others", lambda *_: signal.raise_signal(signal.SIGINT))
    train()
    assert command.main(["report", "logs/latest", "-o", "out"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "invariances: stopped by SIGINT"
    assert not Path("out").exists()


FILES = {
    "the log": (csv_log.csv, "DictWriter"),
    "a checkpoint": (saving.checkpoints, "write_part"),
    "the name of a checkpoint": (os, "fsync"),
    "an evaluation": (base, "atomic_write"),
}


@pytest.mark.parametrize("file", FILES)
def test_c09_full_disk(file, monkeypatch, capsys):
    """From step 8 on, nothing can be written."""
    whole, _ = train()
    with monkeypatch.context() as patch:
        owner, name = FILES[file]
        full_after(patch, owner, name, 8)
        broken, code = train(experiment_name="broken")
    line = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and str(broken.path) in line and "No space left on device" in line and "MB are free in" in line
    assert edflow.main(["-p", str(broken.path), "-t"]) == 0
    require_equal(broken, whole)


def full_after(patch, owner, name, step):
    """Let the calls of a function fail from a step on."""
    call, steps = getattr(owner, name), [0]
    count = callbacks.StepCounter.on_train_batch_end

    def counted(self, trainer, pl_module, *rest):
        count(self, trainer, pl_module, *rest)
        steps.append(int(pl_module.step))

    def patched(*args, **kwargs):
        if steps[-1] >= step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*args, **kwargs)

    patch.setattr(callbacks.StepCounter, "on_train_batch_end", counted)
    patch.setattr(owner, name, patched)


def test_c09_full_disk_before_the_first_step(monkeypatch, capsys):
    monkeypatch.setattr(Path, "mkdir", full)
    assert edflow.main(words()) == 2
    assert "No space left on device); " in capsys.readouterr().err
    monkeypatch.undo()
    assert not Path("logs").exists()


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_that_was_resumed_at_the_end_of_an_epoch_is_killed_again_within_the_next(monkeypatch):
    settings = {"num_steps": "16", "ckpt_freq": "1"}
    whole, _ = train(**settings)
    for step in (5, 7, 11):  # epochs have four steps
        with monkeypatch.context() as patch:
            killed_at(patch, saving.Checkpoints, "save_if_due", step)
            again = ["-p", "logs/latest", "-t"]
            with pytest.raises(Killed):
                edflow.main(words(experiment_name="broken", **settings) if step == 5 else again)
    broken = Run.open("logs/latest")
    assert edflow.main(["-p", str(broken.path), "-t"]) == 0
    require_equal(broken, whole)
