"""Run folders: unique, reopened by folder or config, their last checkpoint found whatever else lies about."""

import logging
import multiprocessing
import os
import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from invariances.config.reading import read_file
from invariances.config.resolving import resolve_checkpoints
from invariances.errors import UserError
from invariances.training import run as runs
from invariances.training.run import Run, grouped_by_seed, launch_command, resolve_checkpoint
from invariances.utils import checkpoints


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    """Set the time with `clock("10-00-00")`."""

    def set_time(text: str) -> None:
        monkeypatch.setattr(runs, "_now", lambda: f"2026-11-25T{text}")

    set_time("10-00-00")
    return set_time


def trained(name: str = "ae", steps: tuple[int, ...] = (10,), **config) -> Run:
    run = Run.create(name)
    run.save_config({"experiment_name": name, **config}, "train")
    for step in steps:
        checkpoints.save({"step": step}, run.checkpoints / f"model-{step}.ckpt")
    return run


def complaint(function, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def create_in_process(start) -> str:
    start.wait()
    return Run.create("same").path.name


class TestCreate:
    def test_name(self):
        run = Run.create("digits_ae")
        assert re.fullmatch(r"logs/\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d_digits_ae", str(run.path))
        assert abs((datetime.fromisoformat(run.path.name[:10]) - datetime.now()).days) <= 1
        assert (run.path / "configs").is_dir() and run.checkpoints == run.path / "train" / "checkpoints"

    def test_same_second(self, clock):
        names = [Run.create("a").path.name for _ in range(12)]
        assert names[:3] == ["2026-11-25T10-00-00_a", "2026-11-25T10-00-00_a-2", "2026-11-25T10-00-00_a-3"]
        assert len(set(names)) == 12 and os.readlink("logs/latest") == "2026-11-25T10-00-00_a-12"

    def test_two_processes(self):
        context = multiprocessing.get_context("fork")
        with context.Manager() as manager, context.Pool(4) as pool:
            start = manager.Event()
            results = [pool.apply_async(create_in_process, [start]) for _ in range(8)]
            start.set()
            names = [result.get(30) for result in results]
        assert len(set(names)) == 8
        assert Path("logs/latest").resolve().name in names
        assert not list(Path("logs").glob(".latest*"))

    @pytest.mark.parametrize(
        ("name", "folder"),
        [
            ("a/b", "a-b"),
            ("../../x", "x"),
            ("größe 3", "gr-e-3"),
            ("a" * 9, "a" * 9),
            ("...", "run"),
            ("", "run"),
        ],
    )
    def test_name_stays_inside_the_root(self, clock, name, folder):
        assert str(Run.create(name).path) == f"logs/2026-11-25T10-00-00_{folder}"

    def test_root_cannot_be_made(self):
        Path("file").write_text("x")
        Path("dangling").symlink_to("gone")
        assert "cannot be written" in complaint(Run.create, "a", "file")
        assert "cannot be written" in complaint(Run.create, "a", "dangling")

    def test_config_cannot_be_written(self, monkeypatch):
        run = Run.create("a")

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "open", full)
        assert "-train.yaml: cannot be written (No space left on device)" in complaint(
            run.save_config, {}, "train"
        )


class TestLatest:
    def test_points_to_the_newest(self, clock):
        Run.create("a")
        clock("10-00-01")
        Run.create("b")
        assert os.readlink("logs/latest") == "2026-11-25T10-00-01_b"

    def test_of_two_runs_of_one_second_it_is_the_later_one(self, clock):
        Run.create("a_long_name")
        Run.create("short")
        assert os.readlink("logs/latest") == "2026-11-25T10-00-00_short"

    def test_no_links_on_this_file_system(self, monkeypatch):
        def refuse(*_):
            raise OSError("links are not supported")

        monkeypatch.setattr(Path, "symlink_to", refuse)
        assert Run.create("a").path.is_dir() and not Path("logs/latest").exists()

    def test_a_folder_of_that_name(self):
        Path("logs/latest").mkdir(parents=True)
        assert Run.create("a").path.is_dir()
        assert Path("logs/latest").is_dir() and not list(Path("logs").glob(".latest*"))

    def test_open_goes_to_the_folder_itself(self, clock):
        run = trained()
        assert Run.open("logs/latest").path == run.path
        assert Run.open("logs/latest/").path == run.path
        assert Run.open(f"logs/latest/configs/{next((run.path / 'configs').iterdir()).name}").path == run.path


class TestOpen:
    def test_folder_and_config(self, clock):
        run = trained(size=1)
        first = run.path / "configs" / "2026-11-25T10-00-00-train.yaml"
        clock("11-00-00")
        run.save_config({"experiment_name": "ae", "size": 2}, "train")
        assert Run.open(run.path).config()["size"] == 2
        assert Run.open(first).config()["size"] == 1 and Run.open(first).path == run.path

    def test_missing(self, clock):
        trained()
        message = complaint(Run.open, "logs/2026-11-25T10-00-00_a")
        assert message == (
            "logs/2026-11-25T10-00-00_a: no such run; did you mean logs/2026-11-25T10-00-00_ae?"
        )

    def test_missing_root(self):
        assert complaint(Run.open, "logs/x").startswith("logs/x: no such run")

    def test_configs_of_the_project_are_no_run(self):
        Path("configs").mkdir()
        Path("configs/mnist_ae.yaml").write_text("a: 1")
        assert "configs/mnist_ae.yaml: is not a run" in complaint(Run.open, "configs/mnist_ae.yaml")

    @pytest.mark.parametrize("what", ["folder", "file", "empty"])
    def test_no_run(self, what):
        path = Path(what)
        if what == "file":
            path.write_text("a: 1")
        else:
            (path / "configs").mkdir(parents=True) if what == "empty" else path.mkdir()
        assert f"{what}: is not a run; expected a folder with configs/<time>-train.yaml" in complaint(
            Run.open, what
        )

    def test_dangling_latest(self):
        Path("logs").mkdir()
        Path("logs/latest").symlink_to("gone")
        assert "no such run" in complaint(Run.open, "logs/latest")


class TestConfig:
    def test_saved_as_it_was(self, clock):
        config = {"experiment_name": "x", "learning_rate": 1e-5, "Model": {"sizes": [22, 11, 31], "t": "010"}}
        run = Run.create("x")
        path = run.save_config(config, "train")
        assert str(path) == "logs/2026-11-25T10-00-00_x/configs/2026-11-25T10-00-00-train.yaml"
        assert run.config() == config == read_file(path)

    def test_one_file_per_start(self, clock):
        run = trained()
        for number in range(2, 13):
            run.save_config({"number": number}, "train")
            assert run.started == f"2026-11-25T10-00-00-{number}"
        assert len(list((run.path / "configs").iterdir())) == 12
        assert run.config() == {"number": 12}

    def test_evaluation_does_not_change_what_a_resume_uses(self, clock):
        run = trained(batch_size=25)
        clock("12-00-00")
        run.save_config({"experiment_name": "ae", "batch_size": 1}, "eval")
        assert Run.open(run.path).config()["batch_size"] == 25

    def test_run_that_only_evaluated(self):
        run = Run.create("x")
        run.save_config({"a": 1}, "eval")
        assert run.config() == {"a": 1}

    def test_evaluations_get_folders_of_their_own(self, clock):
        run = trained()
        paths = [str(run.new_evaluation().relative_to(run.path)) for _ in range(2)]
        assert paths == ["eval/2026-11-25T10-00-00", "eval/2026-11-25T10-00-00-2"]


class TestLastCheckpoint:
    def test_odd_folder(self, caplog):
        """Numbers count, not text or time; only whole files do; a damaged newest one is named."""
        run = trained(steps=(10000, 9999))
        os.utime(run.checkpoints / "model-10000.ckpt", (1, 1))
        for name in ("model-010001.ckpt.part", "model-best.ckpt", "notes.txt", "model-20000.ckpt"):
            (run.checkpoints / name).touch()
        (run.checkpoints / "model-99999.ckpt").mkdir()
        with caplog.at_level(logging.WARNING):
            assert run.last_checkpoint().name == "model-10000.ckpt"
        assert "model-20000.ckpt: incomplete or not a checkpoint (0 bytes)" in caplog.text
        assert "using the checkpoint before it" in caplog.text

    def test_cut_off(self, caplog):
        run = trained(steps=(1, 2, 3))
        for step in (2, 3):
            path = run.checkpoints / f"model-{step}.ckpt"
            path.write_bytes(path.read_bytes()[:500])
        assert run.last_checkpoint().name == "model-1.ckpt"
        assert caplog.text.count("incomplete") == 2

    def test_none(self):
        run = trained(steps=())
        assert not run.has_checkpoints
        assert complaint(run.last_checkpoint) == (
            f"{run.path}: has no checkpoint yet; train it with: edflow -p {run.path} -t"
        )

    def test_all_damaged(self):
        run = trained(steps=(1,))
        (run.checkpoints / "model-1.ckpt").write_bytes(b"")
        assert run.has_checkpoints
        assert "model-1.ckpt: damaged, like all before it" in complaint(run.last_checkpoint)


class TestLatestExperiment:
    def test_newest_run_with_a_checkpoint(self, clock):
        trained("ae", (5,))
        clock("10-00-01")
        second = trained("ae", (10, 9))
        clock("10-00-02")
        trained("ae", ())
        clock("10-00-03")
        trained("other", (99,))
        assert resolve_checkpoint("latest:ae") == second.checkpoints / "model-10.ckpt"
        assert Run.find("latest:ae").path == second.path == Run.find(str(second.path)).path

    def test_older_runs_under_new_names(self, clock):
        first = trained("ae", (5,))
        first.path.rename("logs/my_first_one")
        clock("10-00-01")
        second = trained("ae", (10,))
        shutil.copytree(second.path, "logs/copy_of_the_newest_one_with_a_long_name")
        assert Run.find("latest:ae").path == second.path
        failed = Run.create("failed")
        failed.save_config({}, "train")
        failed.abandon()
        assert os.readlink("logs/latest") == second.path.name

    def test_name_of_the_folder_does_not_matter(self):
        run = Run.create("my name")
        run.save_config({"experiment_name": "ae"}, "train")
        checkpoints.save({}, run.checkpoints / "model-1.ckpt")
        assert Run.find("latest:ae").path == run.path
        assert "no such run" in complaint(Run.find, "latest:my name")

    def test_debug_runs_are_for_debugging(self, clock):
        debug = trained("ae_debug")
        assert "no such run" in complaint(resolve_checkpoint, "latest:ae")
        assert Run.find("latest:ae", debug=True).path == debug.path
        real = trained("ae")
        clock("10-00-05")
        trained("ae_debug")
        assert Run.find("latest:ae", debug=True).path == real.path

    def test_stray_things_in_the_root(self):
        run = trained("ae")
        Path("logs/notes.txt").touch()
        Path("logs/zzz/configs").mkdir(parents=True)
        Path("logs/zzz2/configs").mkdir(parents=True)
        Path("logs/zzz2/configs/2026-11-25T10-00-00-train.yaml").write_text("a: [1")
        assert Run.find("latest:ae").path == run.path

    def test_never_trained_says_how(self):
        Path("configs/digits/layers").mkdir(parents=True)
        Path("configs/digits/ae.yaml").write_text("# Autoencoder\nexperiment_name: ae\n")
        Path("configs/digits/cinn.yaml").write_text("experiment_name: cinn\n")
        Path("configs/digits/layers/conv1.yaml").write_text(
            "# The first layer\n#\n"
            "#   edflow -b configs/digits/cinn.yaml configs/digits/layers/conv1.yaml -t\n\n"
            "experiment_name: cinn_conv1\n"
        )
        Path("configs/broken.yaml").write_text("a: [")
        assert complaint(resolve_checkpoint, "latest:ae") == (
            "latest:ae: no such run with a checkpoint in logs; "
            "create one with: edflow -b configs/digits/ae.yaml -t"
        )
        assert complaint(resolve_checkpoint, "latest:cinn_conv1").endswith(
            "create one with: edflow -b configs/digits/cinn.yaml configs/digits/layers/conv1.yaml -t"
        )

    def test_a_run_without_a_checkpoint_yet_is_named(self):
        run = Run.create("mine")
        run.save_config({"experiment_name": "mine"}, "train")
        assert complaint(resolve_checkpoint, "latest:mine") == (
            f"latest:mine: {run.path} has no checkpoint yet; wait for its first one, or train it with: "
            f"edflow -p {run.path} -t"
        )

    def test_mistyped(self):
        trained("digits_ae")
        assert complaint(resolve_checkpoint, "latest:digit_ae").endswith("did you mean latest:digits_ae?")
        assert complaint(resolve_checkpoint, "latest:zebra").endswith("edflow -b CONFIG -t")

    def test_launch_command_ignores_other_files_lines(self, tmp_path):
        path = Path("a.yaml")
        path.write_text("#   edflow -b b.yaml -t\n#   edflow -b b.yaml a.yaml -t\nx: 1\n")
        assert launch_command("a.yaml", path) == "edflow -b b.yaml a.yaml -t"
        path.write_text("#   edflow -b a.yaml -t --datasets/train/folder FOLDER\nx: 1\n")
        assert launch_command("a.yaml", path) == "edflow -b a.yaml -t --datasets/train/folder FOLDER"
        path.write_text("x: 1\n")
        assert launch_command("a.yaml", path) == "edflow -b a.yaml -t"


class TestResolve:
    def test_all_sections(self):
        run = trained("ae", (9, 10))
        explicit = str(run.checkpoints / "model-9.ckpt")
        config = {
            "GreyboxModel": {"checkpoint": "latest:ae", "layer": "conv1"},
            "AutoencoderModel": {"checkpoint": explicit},
            "first_stage": {"model": "a.B", "checkpoint": "latest:ae"},
            "batch_size": 3,
        }
        resolved = resolve_checkpoints(config, resolve_checkpoint)
        last = str(run.checkpoints / "model-10.ckpt")
        assert resolved["GreyboxModel"] == {"checkpoint": last, "layer": "conv1"}
        assert resolved["AutoencoderModel"] == {"checkpoint": explicit}
        assert resolved["first_stage"] == {"model": "a.B", "checkpoint": last}
        assert config["GreyboxModel"]["checkpoint"] == "latest:ae" and resolved["batch_size"] == 3

    def test_network_that_needs_no_checkpoint(self):
        config = {"GreyboxModel": {"model": "torchvision:alexnet", "layer": "fc6"}}
        assert resolve_checkpoints(config, resolve_checkpoint) == config

    @pytest.mark.parametrize("content", [None, b"", b"<html>", b"a: 1"])
    def test_first_stage_is_no_checkpoint(self, content):
        if content is not None:
            Path("a.ckpt").write_bytes(content)
        message = complaint(resolve_checkpoints, {"first_stage": {"checkpoint": "a.ckpt"}}, resolve_checkpoint)
        assert message.startswith("first_stage/checkpoint: a.ckpt: ")

    def test_folder_given(self):
        run = trained()
        message = complaint(resolve_checkpoint, str(run.checkpoints))
        assert "is a folder; name a checkpoint, such as" in message and "model-10.ckpt" in message


class TestAbandon:
    def test_new_run_leaves_nothing(self, clock):
        earlier = trained()
        clock("10-00-01")
        run = Run.create("b")
        run.save_config({}, "train")
        run.new_evaluation()
        run.abandon()
        assert not run.path.exists() and os.readlink("logs/latest") == earlier.path.name

    def test_logs_without_a_result_go(self):
        run = Run.create("a")
        run.save_config({}, "train")
        log = run.path / "train" / "tensorboard" / "events.out"
        log.parent.mkdir(parents=True)
        log.touch()
        run.abandon()
        assert not run.path.exists() and not Path("logs").exists()

    def test_a_result_stays(self):
        run = Run.create("a")
        run.save_config({}, "train")
        log = run.path / "train" / "csv" / "metrics.csv"
        log.parent.mkdir(parents=True)
        log.touch()
        run.abandon()
        assert log.exists() and run.config() == {}

    def test_earlier_work_stays(self, clock):
        for path in trained().path.rglob("*"):
            os.utime(path, (1, 1))
        clock("11-00-00")
        run = Run.open("logs/latest")
        run.save_config({"bad": 1}, "train")
        run.new_evaluation()
        run.abandon()
        assert [p.name for p in (run.path / "configs").iterdir()] == ["2026-11-25T10-00-00-train.yaml"]
        assert run.last_checkpoint().name == "model-10.ckpt" and not (run.path / "eval").exists()

    def test_a_start_that_has_worked_stays(self, clock):
        run = trained()
        run.abandon()
        assert run.config()["experiment_name"] == "ae"


def test_runs_that_differ_in_their_seed_alone_are_one_group():
    first, other, second = trained(seed=0), trained(seed=0, batch_size=4), trained(seed=1)
    again = trained(seed=1)
    assert grouped_by_seed([first, other, second, again]) == [[first, second], [other], [again]]
    assert grouped_by_seed([]) == []
