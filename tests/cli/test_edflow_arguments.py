"""What each `edflow` command does, with an engine that only takes notes."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch import nn

import invariances.training
from invariances.cli import edflow
from invariances.errors import UserError
from invariances.training import start
from invariances.training.run import Run
from invariances.utils import checkpoints

CONFIG = """
experiment_name: test
model: tests.cli.test_edflow_arguments.Net
Model: {width: 3}
iterator: tests.config.test_config.Task
datasets: {train: tests.config.test_config.Digits, validation: tests.config.test_config.Digits}
batch_size: 2
learning_rate: 1e-3
num_steps: 20
"""


class Net(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)


class Engine:
    """Notes what it is asked for, and saves a checkpoint when it trains."""

    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []
        self.error: BaseException | None = None
        self.signum: int | None = None

    def train(self, config, run, checkpoint=None, restart=False, debug=False, allow_other_network=False):
        self.note("train", config, run, checkpoint, restart, debug)
        state = {"state_dict": {"model.layer.weight": torch.zeros(3, 3)}, "config": config}
        save(run, config["num_steps"], state)

    def evaluate(self, config, run, checkpoint, debug=False, allow_other_network=False):
        self.note("evaluate", config, run, checkpoint, None, debug)
        (run.new_evaluation() / "metrics.json").write_text("{}")

    def note(self, what, config, run, checkpoint, restart, debug):
        if self.error is not None:
            raise self.error
        if self.signum is not None:
            signal.raise_signal(self.signum)
        self.calls.append(
            SimpleNamespace(
                what=what, config=config, run=run.path, checkpoint=checkpoint, restart=restart, debug=debug
            )
        )

    @property
    def last(self) -> SimpleNamespace:
        return self.calls[-1]


def save(run: Run, step: int, state: dict | None = None) -> Path:
    path = run.checkpoints / f"model-{step}.ckpt"
    checkpoints.save(state or {"step": step}, path)
    return path


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)
    monkeypatch.setattr(logging.getLogger("invariances"), "level", logging.NOTSET)


@pytest.fixture
def engine(monkeypatch) -> Engine:
    stub = Engine()
    monkeypatch.setitem(sys.modules, "invariances.training.engine", stub)
    monkeypatch.setattr(invariances.training, "engine", stub, raising=False)
    return stub


@pytest.fixture
def trained(engine) -> Run:
    """A run with checkpoints 10 and 20."""
    assert edflow.main(["-b", "a.yaml", "-t"]) == 0
    run = Run.open("logs/latest")
    save(run, 10)
    return run


def run_folders() -> list[str]:
    return sorted(path.name for path in Path("logs").glob("2*")) if Path("logs").exists() else []


def complaint(capsys, *words: str) -> str:
    """The one line of an error; no folder is left."""
    before = run_folders()
    assert edflow.main(list(words)) == 2
    output = capsys.readouterr()
    assert output.err.startswith("edflow: error: ") and output.err.count("\n") == 1, output.err
    assert run_folders() == before
    return output.err.removeprefix("edflow: error: ").strip()


class TestCommands:
    def test_train(self, engine, capsys):
        assert edflow.main(["-b", "a.yaml", "-t"]) == 0
        call = engine.last
        assert (call.what, call.checkpoint, call.debug) == ("train", None, False)
        assert call.run.name.endswith("_test") and capsys.readouterr().out == f"{call.run}\n"
        (saved,) = (call.run / "configs").iterdir()
        assert saved.name.endswith("-train.yaml") and yaml.safe_load(saved.read_text())["batch_size"] == 2
        assert start.JOINED not in os.environ

    def test_files_merge_and_overrides_win(self, engine):
        Path("b.yaml").write_text("batch_size: 4\nModel: {width: 5}\n")
        words = ["-b", "a.yaml", "b.yaml", "-t", "--Model/width", "7", "--trainer={devices: 1}", "--seed=3"]
        assert edflow.main(words) == 0
        config = engine.last.config
        assert config["batch_size"] == 4 and config["Model"] == {"width": 7} and config["seed"] == 3
        assert config["trainer"] == {"devices": 1}
        assert Run.open(engine.last.run).config() == config

    def test_name(self, engine):
        assert edflow.main(["-b", "a.yaml", "-t", "-n", "try 1"]) == 0
        assert engine.last.run.name.endswith("_try-1")
        assert Run.find("latest:test").path == engine.last.run

    def test_config_without_a_name_is_called_after_its_file(self, engine):
        Path("mine.yaml").write_text(CONFIG.replace("experiment_name: test", ""))
        assert edflow.main(["-b", "mine.yaml", "-t"]) == 0
        assert engine.last.config["experiment_name"] == "mine"
        assert edflow.main(["-b", "a.yaml", "-t", "--experiment_name", "null"]) == 0
        assert engine.last.config["experiment_name"] == "a"

    def test_train_from_the_weights_of_a_checkpoint(self, trained, engine):
        path = str(trained.checkpoints / "model-10.ckpt")
        assert edflow.main(["-b", "a.yaml", "-t", "-c", path]) == 0
        assert (engine.last.what, str(engine.last.checkpoint), engine.last.restart) == ("train", path, True)
        assert engine.last.run != trained.path

    def test_evaluate_a_checkpoint_in_a_new_run(self, trained, engine):
        assert edflow.main(["-b", "a.yaml", "-c", "latest:test"]) == 0
        assert (engine.last.what, engine.last.checkpoint.name) == ("evaluate", "model-20.ckpt")
        assert engine.last.run != trained.path
        assert next((engine.last.run / "configs").iterdir()).name.endswith("-eval.yaml")

    def test_evaluate_a_run(self, trained, engine):
        assert edflow.main(["-p", str(trained.path)]) == 0
        assert (engine.last.what, engine.last.run) == ("evaluate", trained.path)
        assert engine.last.checkpoint == trained.checkpoints / "model-20.ckpt"
        assert edflow.main(["-p", str(trained.path), "-c", str(trained.checkpoints / "model-10.ckpt")]) == 0
        assert engine.last.checkpoint == trained.checkpoints / "model-10.ckpt"
        assert len(run_folders()) == 1

    def test_evaluate_with_an_older_config_of_a_run(self, trained, engine):
        old = trained.save_config(trained.config() | {"batch_size": 99}, "train")
        trained.save_config(trained.config() | {"batch_size": 5}, "train")
        assert edflow.main(["-p", str(old)]) == 0
        assert engine.last.config["batch_size"] == 99 and engine.last.run == trained.path

    def test_name_of_an_evaluation(self, trained, engine):
        assert edflow.main(["-p", str(trained.path), "-n", "on my pictures"]) == 0
        assert engine.last.what == "evaluate" and engine.last.run == trained.path
        assert [path.name[19:] for path in (trained.path / "eval").iterdir()] == ["_on-my-pictures"]

    def test_evaluate_the_checkpoint_that_a_config_names(self, trained, engine):
        path = trained.checkpoints / "model-10.ckpt"
        Path("b.yaml").write_text(f"{CONFIG}checkpoint: {path}\n")
        assert edflow.main(["-b", "b.yaml"]) == 0
        assert (engine.last.what, engine.last.checkpoint) == ("evaluate", path)
        assert edflow.main(["-b", "b.yaml", "-c", str(path.with_name("model-20.ckpt"))]) == 0
        assert engine.last.checkpoint == path.with_name("model-20.ckpt")
        assert edflow.main(["-b", "b.yaml", "-t"]) == 0
        assert (engine.last.what, engine.last.checkpoint, engine.last.restart) == ("train", path, True)
        assert edflow.main(["-p", "logs/latest", "-t"]) == 0  # its own checkpoint counts
        assert engine.last.checkpoint.parent == engine.last.run / "train" / "checkpoints"

    def test_config_without_a_model_is_laid_over_that_of_the_checkpoint(self, trained, engine):
        Path("b.yaml").write_text("notes: more\n")
        assert edflow.main(["-b", "b.yaml", "-c", str(trained.checkpoints / "model-20.ckpt")]) == 0
        assert engine.last.config["Model"] == {"width": 3} and engine.last.config["notes"] == "more"

    def test_resume(self, trained, engine):
        assert edflow.main(["-p", str(trained.path), "-t", "--num_steps", "40"]) == 0
        call = engine.last
        assert (call.what, call.run, call.restart) == ("train", trained.path, False)
        assert call.checkpoint == trained.checkpoints / "model-20.ckpt" and call.config["num_steps"] == 40
        assert trained.config()["num_steps"] == 40 and trained.config()["batch_size"] == 2

    def test_resume_with_another_file(self, trained, engine):
        Path("b.yaml").write_text("batch_size: 4\n")
        assert edflow.main(["-p", str(trained.path), "-b", "b.yaml", "-t"]) == 0
        assert engine.last.config["batch_size"] == 4 and engine.last.config["Model"] == {"width": 3}

    def test_an_evaluation_in_between_leaves_no_trace_in_a_resume(self, trained, engine):
        assert edflow.main(["-p", str(trained.path), "--batch_size", "99"]) == 0
        assert edflow.main(["-p", str(trained.path), "-t"]) == 0
        assert engine.last.config["batch_size"] == 2

    def test_resume_before_the_first_checkpoint(self, engine, caplog):
        run = Run.create("test")
        run.save_config(yaml.safe_load(CONFIG.replace("1e-3", "0.001")), "train")
        assert edflow.main(["-p", str(run.path), "-t"]) == 0
        assert (engine.last.run, engine.last.checkpoint) == (run.path, None)
        assert "stopped before its first checkpoint" in caplog.text

    @pytest.mark.parametrize("flags", [["-r"], ["-c", "10"], ["-c", "10", "-r"], ["-d"]])
    def test_no_later_checkpoint_is_put_at_risk(self, trained, engine, flags):
        """Anew, from an older checkpoint, or only to debug: the counter would run into later files."""
        words = [str(trained.checkpoints / "model-10.ckpt") if word == "10" else word for word in flags]
        assert edflow.main(["-p", str(trained.path), "-t", *words]) == 0
        assert engine.last.run != trained.path and engine.last.restart is ("-r" in flags)
        assert engine.last.checkpoint.name == ("model-10.ckpt" if "10" in flags else "model-20.ckpt")
        assert [path.name for path in checkpoints.numbered(trained.checkpoints)] == [
            "model-10.ckpt",
            "model-20.ckpt",
        ]

    def test_last_checkpoint_by_name_goes_on_in_place(self, trained, engine):
        path = str(trained.checkpoints / "model-20.ckpt")
        assert edflow.main(["-p", str(trained.path), "-t", "-c", path]) == 0
        assert (engine.last.run, engine.last.restart) == (trained.path, False)

    def test_debug(self, engine):
        assert edflow.main(["-b", "a.yaml", "-t", "-d"]) == 0
        assert engine.last.debug and engine.last.run.name.endswith("_test_debug")
        with pytest.raises(UserError):
            Run.find("latest:test")

    def test_latest_run(self, trained, engine):
        assert edflow.main(["-p", "latest:test"]) == 0
        assert engine.last.run == trained.path

    def test_resolved_config_names_the_checkpoint(self, trained, engine):
        text = CONFIG.replace("tests.config.test_config.Task", "tests.cli.test_edflow_arguments.FirstStageTask")
        Path("c.yaml").write_text(text + "first_stage: {checkpoint: latest:test}\n")
        assert edflow.main(["-b", "c.yaml", "-t"]) == 0
        expected = {"checkpoint": str(trained.checkpoints / "model-20.ckpt")}
        assert engine.last.config["first_stage"] == expected == Run.open("logs/latest").config()["first_stage"]

    def test_final_config_is_logged(self, engine, caplog):
        assert edflow.main(["-b", "a.yaml", "-t", "--notes", "010"]) == 0
        assert "notes: '010'" in caplog.text and "keep_checkpoints: 3" in caplog.text
        caplog.clear()
        assert edflow.main(["-b", "a.yaml", "-t", "-l", "warning"]) == 0
        assert caplog.text == ""

    def test_process_for_a_further_device_joins_the_run(self, trained, engine, monkeypatch, capsys):
        monkeypatch.setenv(start.JOINED, str(trained.path))
        capsys.readouterr()
        assert edflow.main(["-b", "a.yaml", "-t"]) == 0
        assert engine.last.run == trained.path and len(run_folders()) == 1
        assert capsys.readouterr().out == "" and len(list((trained.path / "configs").iterdir())) == 1


class FirstStageTask(pl.LightningModule):
    def __init__(self, model: nn.Module, first_stage: nn.Module, learning_rate: float) -> None:
        super().__init__()


class TestWords:
    @pytest.mark.parametrize(
        ("words", "overrides"),
        [
            (["--a", "-5"], {"a": "-5"}),
            (["--a=-5"], {"a": "-5"}),
            (["--a", "-5e-3"], {"a": "-5e-3"}),
            (["--a/b/c", "[1, -2]"], {"a/b/c": "[1, -2]"}),
            (["--a", "text with spaces"], {"a": "text with spaces"}),
            (["--a=b=c"], {"a": "b=c"}),
            (["--a=--b"], {"a": "--b"}),
            (["--a", "1", "--a", "2"], {"a": "2"}),
            (["--a=1", "-t", "--b", "2"], {"a": "1", "b": "2"}),
            (["--names=1"], {"names": "1"}),
            (["--trainer", "{}"], {"trainer": "{}"}),
        ],
    )
    def test_overrides(self, words, overrides):
        assert edflow.parse(["-b", "a.yaml", "-c", "x", *words]).overrides == overrides
        assert edflow.parse([*words, "-b", "a.yaml", "-c", "x"]).base == ["a.yaml"]

    def test_an_override_without_a_value(self):
        with pytest.raises(UserError, match=r"^--batch_size=: has no value; use --batch_size=null to switch it off"):
            edflow.parse(["-b", "a.yaml", "-t", "--batch_size="])

    @pytest.mark.parametrize("word", ["true", "True", "false"])
    def test_flags_with_a_truth_value(self, word):
        options = edflow.parse(["-b", "a.yaml", "-t", word, "--debug", word, "--k", "true", "-c", "x"])
        assert (options.train, options.debug) == (word != "false",) * 2 and options.overrides == {"k": "true"}

    @pytest.mark.parametrize("level", ["warn", "critical", "WARNING"])
    def test_levels_of_logging(self, level):
        assert edflow.main(["-b", "none.yaml", "-l", level]) == 2
        expected = {"warn": logging.WARNING, "critical": logging.CRITICAL, "WARNING": logging.WARNING}[level]
        assert logging.getLogger("invariances").level == expected

    def test_files(self):
        assert edflow.parse(["-b", "a", "b", "-t", "--base", "c"]).base == ["a", "b", "c"]
        assert edflow.parse(["-b", "a", "b", "--seed", "3", "-t"]).base == ["a", "b"]

    def test_long_flags(self):
        words = "--base a --train --checkpoint c --name n --retrain --debug --log_level WARNING"
        options = edflow.parse(words.split(" "))
        assert (options.base, options.checkpoint, options.name) == (["a"], "c", "n")
        assert options.train and options.retrain and options.debug and options.log_level == "warning"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "nothing to do"),
            (["-b", "a.yaml"], "add -t to train, or -c CKPT"),
            (["-t"], "nothing to do"),
            (["-c", "x.ckpt"], "nothing to do"),
            (["-b"], "expected at least one argument"),
            (["-b", "a.yaml", "-t", "foo"], "foo: unexpected argument"),
            (["-b", "a.yaml", "-t", "b.yaml"], "b.yaml: unexpected argument; list config files together after -b"),
            (["train", "-b", "a.yaml"], "train: unexpected argument"),
            (["-b", "a.yaml", "--trian"], "--trian: no such flag; did you mean --train?"),
            (["--basee", "a.yaml", "-t"], "--basee: no such flag; did you mean --base?"),
            (["-b", "a.yaml", "-t", "--retrian", "x"], "did you mean --retrain?"),
            (["-b", "a.yaml", "-t", "-x"], "-x: no such flag"),
            (["-b", "a.yaml", "-t", "--Model/width"], "--Model/width: has no value"),
            (["-b", "a.yaml", "--Model/width", "-t"], "--Model/width: has no value"),
            (["-b", "a.yaml", "-t", "--Model/width", "--seed", "3"], "--Model/width: has no value"),
            (["-b", "a.yaml", "-t", "-l", "loud"], "invalid choice: 'loud'"),
            (["-p", "logs/x", "-r"], "add -t"),
        ],
    )
    def test_refused(self, engine, capsys, words, message):
        assert message in complaint(capsys, *words)
        assert not Path("logs").exists()


class TestMistakes:
    """One line, exit code 2, no folder left."""

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["-b", "b.yaml", "-t"], "b.yaml: no such file"),
            (["-b", ".", "-t"], ".: is a folder"),
            (["-b", "a.yaml", "-t", "--Modle/width", "3"], "Modle: unknown key; did you mean Model?"),
            (
                ["-b", "a.yaml", "-t", "--Model/widht", "3"],
                "Model/widht: unknown argument of Net; did you mean",
            ),
            (["-b", "a.yaml", "-t", "--batch_size", "yes"], "batch_size: got true; expected a whole number"),
            (["-b", "a.yaml", "-t", "--learning_rate", "'1e-4'"], 'learning_rate: "1e-4" is text'),
            (["-b", "a.yaml", "-t", "--model", "nosuch.Net"], "model: no module named nosuch"),
            (["-b", "a.yaml", "-t", "--a", "[1"], "--a:1:3: "),
            (["-b", "a.yaml", "-t", "-c", "x.ckpt"], "x.ckpt: no such file"),
            (["-b", "a.yaml", "-c", "latest:test"], "latest:test: no such run with a checkpoint in logs"),
            (["-b", "a.yaml", "-c", "a.yaml"], "a.yaml: incomplete or not a checkpoint"),
            (["-b", "a.yaml", "-c", "."], ".: is a folder"),
            (["-p", "logs/nothing"], "logs/nothing: no such run"),
            (["-p", "a.yaml"], "a.yaml: is not a run"),
        ],
    )
    def test_before_anything_is_made(self, engine, capsys, words, message):
        assert complaint(capsys, *words).startswith(message)
        assert not engine.calls and not Path("logs").exists()

    def test_several_mistakes(self, engine, capsys):
        assert edflow.main(["-b", "a.yaml", "-t", "--batch_size", "0", "--seed", "-1"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "edflow: error: 2 mistakes in the config" and len(lines) == 3

    def test_evaluating_a_run_without_checkpoints(self, engine, capsys):
        run = Run.create("test")
        run.save_config(yaml.safe_load(CONFIG.replace("1e-3", "0.001")), "train")
        assert "has no checkpoint yet; train it with: edflow -p" in complaint(capsys, "-p", str(run.path))

    def test_name_for_a_run_that_has_one(self, trained, capsys):
        capsys.readouterr()
        assert "-n other: names new runs" in complaint(capsys, "-p", str(trained.path), "-t", "-n", "other")

    def test_engine_refuses(self, engine, capsys):
        engine.error = UserError("Model: width is 3; expected 4")
        assert complaint(capsys, "-b", "a.yaml", "-t") == "Model: width is 3; expected 4"
        assert not Path("logs").exists()

    def test_engine_refuses_in_an_earlier_run(self, trained, engine, capsys):
        capsys.readouterr()
        for path in trained.path.rglob("*"):
            os.utime(path, (1, 1))
        engine.error = UserError("too late")
        complaint(capsys, "-p", str(trained.path), "-t")
        assert len(list((trained.path / "configs").iterdir())) == 1 and trained.last_checkpoint()

    def test_bug_keeps_its_traceback(self, engine):
        engine.error = ZeroDivisionError("a bug")
        with pytest.raises(ZeroDivisionError):
            edflow.main(["-b", "a.yaml", "-t"])
        assert not Path("logs").exists() and start.JOINED not in os.environ

    def test_debug_shows_where(self, engine, capsys):
        engine.error = UserError("too late")
        assert edflow.main(["-b", "a.yaml", "-t", "-d"]) == 2
        error = capsys.readouterr().err
        assert "Traceback" in error and error.endswith("edflow: error: too late\n")

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_at_any_time(self, engine, capsys, signum):
        engine.signum = signum
        before = signal.getsignal(signum)
        assert edflow.main(["-b", "a.yaml", "-t"]) == 128 + signum
        assert f"edflow: stopped by {signum.name}" in capsys.readouterr().err
        assert not Path("logs").exists() and signal.getsignal(signum) is before

    def test_hostile_config_runs_nothing(self, engine, capsys):
        Path("b.yaml").write_text("model: subprocess.Popen\nModel: {args: [touch, ran]}\n")
        refused = complaint(capsys, "-b", "a.yaml", "b.yaml", "-t")
        assert "model: subprocess.Popen (in b.yaml) belongs to neither invariances nor torch.nn" in refused
        assert refused.strip().endswith("add --allow subprocess")
        assert "is not a torch.nn.Module" in complaint(
            capsys, "-b", "a.yaml", "b.yaml", "-t", "--allow", "subprocess"
        )
        Path("b.yaml").write_text("notes: !!python/object/apply:os.mkdir [ran]\n")
        assert complaint(capsys, "-b", "a.yaml", "b.yaml", "-t").startswith("b.yaml:1:8: ")
        assert not Path("ran").exists()


class TestHelp:
    def test_without_torch(self):
        """--help is instant: nothing heavy is imported for it."""
        code = (
            "import sys; from invariances.cli.edflow import main\n"
            "try: main(['--help'])\n"
            "except SystemExit as stop: assert stop.code == 0\n"
            "assert not {'torch', 'pytorch_lightning', 'matplotlib'} & set(sys.modules), 'heavy'\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=os.path.dirname(invariances.__path__[0]),
        )
        assert done.returncode == 0, done.stderr
        assert "edflow -b configs/digits/clf.yaml -t " in done.stdout and "--Section/key VALUE" in done.stdout

    def test_examples_can_be_pasted(self):
        """Each example parses, and the configs in it exist."""
        examples = [
            line.split("  ")[0].split()
            for line in edflow.EXAMPLES.replace("\n  edflow", "\n@").split("\n")
            if line[:1] == "@"
        ]
        assert len(examples) >= 6
        for words in examples:
            options = edflow.parse(words[1:])
            root = Path(invariances.__path__[0]).parent
            assert all((root / path).is_file() for path in options.base)

    def test_version(self, capsys):
        with pytest.raises(SystemExit) as stop:
            edflow.main(["--version"])
        assert stop.value.code == 0 and capsys.readouterr().out.startswith("edflow of invariances ")
