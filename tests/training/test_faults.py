"""Errors of other code, optional objects, evaluations that fail or do not fit, and starts that fail."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from invariances.cli import edflow
from invariances.errors import InvalidInput
from invariances.iterators import Iterator
from invariances.training import engine
from invariances.training.run import Run
from invariances.utils import checkpoints

HERE = "tests.training.test_faults"
CONFIG = {
    "experiment_name": "faults",
    "model": f"{HERE}.Brightness",
    "iterator": f"{HERE}.Fit",
    "datasets/train": "invariances.data.DigitsTrain",
    "datasets/validation": "invariances.data.DigitsTest",
    "batch_size": "100",
    "learning_rate": "1e-3",
    "num_steps": "2",
    "trainer/accelerator": "cpu",
}


class Brightness(nn.Module):
    """Scales images; raises what `error` names."""

    def __init__(self, error: str | None = None) -> None:
        super().__init__()
        self.error, self.scale = error, nn.Parameter(torch.ones(()))

    def forward(self, x):
        errors = {"runtime": RuntimeError, "value": ValueError, "memory": torch.OutOfMemoryError, "ours": InvalidInput}
        if self.error is not None:
            raise errors[self.error]("boom")
        return self.scale * x


class Fit(Iterator):
    """Makes the images brighter."""

    def terms(self, batch):
        return {"loss": (self.model(batch["image"]) - 1).square().mean()}


class Refuse(Fit):
    """Refuses the second batch."""

    def terms(self, batch):
        if int(self.step) == 1:
            raise InvalidInput("too late")
        return super().terms(batch)


class Mistyped(Fit):
    """A hook that lacks an argument."""

    def on_train_batch_start(self, batch):
        pass


class WithOrWithout(Fit):
    """A task whose network under study may be left out."""

    def __init__(self, model: nn.Module, greybox: nn.Module | None = None, **schedule: Any) -> None:
        super().__init__(model, **schedule)
        assert greybox is None


class Broken:
    """An evaluation that fails."""

    def __call__(self, iterator, loader, folder):
        raise ZeroDivisionError("no pixels")


class Odd:
    """An evaluation that returns something else than floats."""

    def __init__(self, what: str) -> None:
        self.found = {"tensor": {"odd": torch.tensor(2.0)}, "none": None, "text": {"odd": "a"}, "key": {3: 1.0}}[what]

    def __call__(self, iterator, loader, folder):
        return self.found


class Count:
    """An evaluation that counts examples."""

    def __call__(self, iterator, loader, folder):
        return {"examples": float(sum(len(batch["image"]) for batch in loader))}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def edit(**changes):
    """A config file with some keys changed, and the words that train it."""
    words = [word for key, value in (CONFIG | changes).items() for word in (f"--{key}", value)]
    Path("a.yaml").write_text("notes: a config\n")
    return ["-b", "a.yaml", "-t", *words]


def test_an_object_that_is_optional_and_absent():
    assert edflow.main(edit(iterator=f"{HERE}.WithOrWithout")) == 0


@pytest.mark.parametrize(
    ("error", "kind"), [("runtime", RuntimeError), ("value", ValueError), ("memory", torch.OutOfMemoryError)]
)
def test_an_error_inside_a_model_keeps_its_type(error, kind):
    with pytest.raises(kind, match="boom") as caught:
        edflow.main(edit(**{"Model/error": error}))
    assert type(caught.value) is kind
    assert not Path("logs").exists()


def test_a_refusal_of_ours_is_one_line(capsys):
    assert edflow.main(edit(**{"Model/error": "ours"})) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("edflow: error: datasets/train: ") and line.endswith("the first batch is refused: boom")


def test_a_refusal_of_ours_at_a_later_step(capsys):
    assert edflow.main(edit(iterator=f"{HERE}.Refuse")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("edflow: error: datasets/train: ")
    assert line.endswith("a batch at step 1 is refused: too late")


def test_a_hook_with_other_arguments_than_lightnings_keeps_its_traceback():
    """The innermost line of the traceback is in Lightning, which calls it."""
    with pytest.raises(TypeError, match="positional arguments"):
        edflow.main(edit(iterator=f"{HERE}.Mistyped"))


@pytest.mark.parametrize("kind", [TypeError, AttributeError, torch.OutOfMemoryError])
def test_a_bug_in_a_constructor_keeps_its_type(kind, monkeypatch):
    def fail(*_):
        raise kind("boom")

    monkeypatch.setattr(Brightness, "register_parameter", fail)
    with pytest.raises(kind, match="boom"):
        edflow.main(edit())
    assert not Path("logs").exists()


def test_rows_of_the_log_are_log_freq_steps_apart():
    assert edflow.main(edit(num_steps="130", log_freq="60")) == 0
    (table,) = Run.open("logs/latest").path.glob("train/csv/metrics.csv")
    with table.open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert steps == [60, 120, 130]  # and the last one


def test_an_evaluation_that_fails(capsys):
    evaluations = {"evaluation/broken/class": f"{HERE}.Broken", "evaluation/count/class": f"{HERE}.Count"}
    assert edflow.main(edit(**evaluations)) == 0  # a training does not end with an evaluation
    capsys.readouterr()
    assert edflow.main(["-p", "logs/latest"]) != 0
    line = capsys.readouterr().err.splitlines()[-1]
    assert "evaluation broken is missing (ZeroDivisionError: no pixels)" in line
    (path,) = Run.open("logs/latest").path.glob("eval/*/metrics.json")
    facts = json.loads(path.read_text())
    assert facts["metrics"]["examples"] == 297 and list(facts["missing"]) == ["broken"]


def test_a_task_without_terms_cannot_be_instantiated():
    class Empty(Iterator):
        pass

    with pytest.raises(TypeError, match="terms"):
        Empty(Brightness(), learning_rate=1e-3)


def test_an_evaluation_that_does_not_fit_the_task_is_refused_before_any_work(capsys):
    assert edflow.main(edit(**{"evaluation/grid/n_images": "2"})) == 2
    line = capsys.readouterr().err.strip()
    reason = "needs a task with views; Fit has none; remove it, or use another iterator"
    assert line == f"edflow: error: evaluation/grid: {reason}"
    assert not Path("logs").exists()


@pytest.mark.parametrize(("what", "value"), [("tensor", 2.0), ("none", None), ("text", None), ("key", None)])
def test_what_is_no_number_is_missing(what, value):
    odd = {"evaluation/odd/class": f"{HERE}.Odd", "evaluation/odd/what": what}
    assert edflow.main(edit(**odd)) == 0
    (path,) = Run.open("logs/latest").path.glob("train/eval/*/metrics.json")
    facts = json.loads(path.read_text())
    assert facts["metrics"].get("odd") == value
    assert list(facts["missing"]) == ([] if value else ["odd"])


def test_the_last_evaluation_counts_for_the_best_checkpoint(capsys):
    assert edflow.main(edit(keep_best="validation/loss")) == 0
    assert (Run.open("logs/latest").checkpoints / "best.ckpt").exists()
    assert edflow.main(edit(keep_best="validation/los")) == 2
    assert "keep_best: validation/los was not measured" in capsys.readouterr().err


def test_the_best_checkpoint_by_a_pattern(caplog):
    assert edflow.main(edit(keep_best="validation/l*")) == 0
    assert (Run.open("logs/latest").checkpoints / "best.ckpt").exists()
    assert edflow.main(edit(keep_best="fid_*")) == 0
    assert "keep_best: fid_* was not measured, so there is no best checkpoint" in caplog.messages
    assert not (Run.open("logs/latest").checkpoints / "best.ckpt").exists()


def test_all_checkpoints_are_kept():
    assert edflow.main(edit(keep_checkpoints="all", ckpt_freq="1", num_steps="5")) == 0
    names = [path.name for path in checkpoints.numbered(Run.open("logs/latest").checkpoints)]
    assert names == [f"model-{step}.ckpt" for step in range(1, 6)]


@pytest.mark.parametrize(("limit", "length"), [(None, 40), (7, 7), (99, 40), (0.5, 20), (1.0, 40)])
def test_shortened_epochs_count_for_the_length_of_a_training(limit, length):
    assert engine._limited(40, limit) == length


class TestAbandon:
    def test_an_earlier_start_keeps_its_files(self):
        earlier = Run.create("test")
        earlier.save_config({"batch_size": 1}, "train")
        (earlier.path / "train").mkdir()
        (earlier.path / "train" / "note.txt").write_text("earlier")
        later = Run(earlier.path)
        later.save_config({"batch_size": 2}, "train")
        (later.path / "train" / "tensorboard").mkdir(parents=True)
        (later.path / "train" / "tensorboard" / "events").touch()
        later.abandon()
        files = sorted(path.name for path in earlier.path.rglob("*") if path.is_file())
        assert files == [next((earlier.path / "configs").iterdir()).name, "note.txt"]
        assert earlier.config() == {"batch_size": 1}

    def test_files_of_another_process_stay(self):
        run = Run.create("test")
        run.save_config({"batch_size": 1}, "train")
        later = [run.path / "train/tensorboard/2099-01-01T00-00-00/events", run.path / "eval/2099-01-01T00-00-00/a.png"]
        for path in (*later, run.path / "mine.txt"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        run.abandon()
        assert sorted(path for path in run.path.rglob("*") if path.is_file()) == sorted([*later, run.path / "mine.txt"])
        assert not Path("logs/latest").is_symlink()

    def test_an_evaluation_leaves_a_training_alone(self):
        """A training that has begun in the same second, and has nothing but empty folders so far."""
        run = Run.create("test")
        run.save_config({"batch_size": 1}, "train")
        trained = [run.path / "train" / name / run.started for name in ("csv", "tensorboard")]
        for folder in trained:
            folder.mkdir(parents=True)
        evaluation = Run(run.path)
        evaluation.save_config({}, "eval")
        evaluation.started = run.started
        folder = evaluation.new_evaluation()
        evaluation.abandon()
        assert all(path.is_dir() for path in trained) and not folder.parent.exists()
        assert len(list((run.path / "configs").iterdir())) == 1

    def test_a_new_run_goes_as_a_whole(self):
        run = Run.create("test")
        run.save_config({"batch_size": 1}, "train")
        run.abandon()
        assert not Path("logs").exists()
