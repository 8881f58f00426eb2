"""Several processes: one run, one stop, one set of numbers."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from invariances.cli import edflow
from invariances.iterators import AutoencoderIterator
from invariances.training.run import Run
from invariances.utils import checkpoints

DIGITS = Path(__file__).parents[2] / "configs" / "digits"
AE = ["-b", DIGITS / "ae.yaml", "-t", "--Model/width", 4, "--Model/z_dim", 8, "--evaluation/grid/n_images", 2]
AE += ["--trainer/accelerator", "cpu", "--log_freq", 1, "--num_steps", 6, "--batch_size", 50]
GAN = [*AE, "--Loss/disc_start", 4, "--Loss/disc_width", 4, "--Loss/disc_num_layers", 2]
TWO = ["--trainer/devices", 2]
ENDLESS = [*AE, *TWO, "--num_steps", 1000000, "--ckpt_freq", 5, "--trainer/check_val_every_n_epoch", 100000]
HERE = "tests.training.test_stops"


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def start(words, launcher=()):
    """Start a command; its output goes to the file `out`."""
    prefix = [sys.executable, "-m", *launcher, "invariances.cli.edflow"]
    with open("out", "w") as out:
        return subprocess.Popen(
            [str(word) for word in (*prefix, *words)], stdout=out, stderr=out, start_new_session=True
        )


def edit(words, launcher=()):
    """Run a command to its end; its exit code, and its run."""
    with start(words, launcher) as process:
        code = process.wait(200)
    return code, Run.open("logs/latest")


def wait_for(pattern, process):
    def found():
        assert process.poll() is None, Path("out").read_text()
        return sorted(Path().glob(pattern))

    return wait_until(found)


def wait_until(condition):
    deadline = time.monotonic() + 200
    while not (result := condition()):
        assert time.monotonic() < deadline, Path("out").read_text()
        time.sleep(0.1)
    return result


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(number) for number in listed.stdout.split()]


def second_of(pid):
    """The process that the first one of a training has started for the second device; None if there is none yet."""
    for child in children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_bytes():
                return child
    return None


def first_column(name):
    with open("logs/latest/train/csv/metrics.csv") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


@pytest.mark.slow
def test_the_first_step_of_two_processes_is_that_of_one_with_twice_the_batch():
    """C22 too: losses are means over both, and the engine has nothing to warn of."""
    base = ["-b", "a.yaml", "-t", "--model", f"{HERE}.Scale", "--iterator", f"{HERE}.Fit", "--learning_rate", "1e-2"]
    base += ["--datasets/train", f"{{class: {HERE}.Pictures, n: 40}}", "--trainer/accelerator", "cpu", "--log_freq", 1]
    base += ["--datasets/validation", f"{{class: {HERE}.Pictures, n: 20}}", "--num_steps", 2, "--ckpt_freq", 1]
    Path("a.yaml").write_text("notes: a config\n")
    assert edflow.main([str(word) for word in (*base, "--batch_size", 20)]) == 0
    one = Run.open("logs/latest")
    losses = first_column("train/loss")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    code, two = edit([*base, "--batch_size", 10, *TWO])
    assert code == 0, Path("out").read_text()
    weights = [checkpoints.load(run.checkpoints / "model-1.ckpt")["state_dict"]["model.scale"] for run in (one, two)]
    assert weights[0] != 1 and float(weights[0] - weights[1]) == pytest.approx(0, abs=1e-5)
    assert first_column("train/loss") == pytest.approx(losses, rel=1e-5)
    assert "sync_dist" not in Path("out").read_text() and "Warning" not in Path("out").read_text()


@pytest.mark.slow
def test_c20_torchrun_makes_one_run_folder():
    code, run = edit(AE, ["torch.distributed.run", "--nproc_per_node", "2", "-m"])
    assert code == 0 and run.last_checkpoint().name == "model-6.ckpt"
    assert len([path for path in Path("logs").iterdir() if not path.is_symlink()]) == 1
    assert "MEMBER: 2/2" in Path("out").read_text()  # they train together, and not each by itself


@pytest.mark.slow
def test_c21_discriminator_with_two_processes():
    code, run = edit([*GAN, *TWO])
    assert code == 0, Path("out").read_text()
    assert len(first_column("train/d_loss")) == 2
    assert all(w.isfinite().all() for w in checkpoints.load(run.last_checkpoint())["state_dict"].values() if w.ndim)
    assert "sync_dist" not in Path("out").read_text() and "Warning" not in Path("out").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["main", "rank", "group"])
def test_a_stop_is_agreed_on(who):
    """C04 too: TERM to the whole process group, with loader workers."""
    with start([*ENDLESS, "--n_data_processes", 1]) as process:
        wait_for("logs/*/train/checkpoints/model-10.ckpt", process)
        if who == "group":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in children(process.pid)}
            rank = next(pid for pid, text in commands.items() if "edflow" in text and children(pid))
            os.kill(process.pid if who == "main" else rank, signal.SIGTERM)
        assert process.wait(120) == 143
    out = Path("out").read_text()
    assert "the state is saved" in out and "Traceback" not in out
    run = Run.open("logs/latest")
    step = int(checkpoints.load(run.last_checkpoint())["state_dict"]["step"])
    code, again = edit(["-p", run.path, "-t", "--num_steps", step + 2, *TWO])
    assert (code, again.path) == (0, run.path) and again.last_checkpoint().name == f"model-{step + 2}.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize("who", ["first", "second"])
def test_a_stop_while_the_second_process_starts(who):
    with start(ENDLESS) as process:
        second = wait_until(lambda: second_of(process.pid))
        os.kill(process.pid if who == "first" else second, signal.SIGTERM)
        assert process.wait(60) == 143
        wait_until(lambda: not Path(f"/proc/{second}").exists())
    out = Path("out").read_text()
    assert "stopped by SIGTERM" in out and "Traceback" not in out and "no such run" not in out
    assert not Path("logs").exists()


@pytest.mark.slow
def test_a_process_that_is_killed_gives_one_line():
    with start(ENDLESS) as process:
        wait_for("logs/*/train/checkpoints/model-10.ckpt", process)
        (rank,) = children(process.pid)
        os.kill(rank, signal.SIGKILL)
        assert process.wait(120) == 2
    out = Path("out").read_text()
    assert "another process of this training has ended" in out and "Traceback" not in out


@pytest.mark.slow
def test_a_wait_for_a_partner_ends_by_a_signal(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with start([*AE, "--trainer/num_nodes", 2]) as process:
        wait_for("logs/*/configs/*.yaml", process)
        time.sleep(20)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 143
    assert "stopped by SIGTERM" in Path("out").read_text()
    assert not Path("logs").exists()


@pytest.mark.slow
def test_buffers_are_equal_at_the_end(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    words = [*GAN, *TWO, "--iterator", "tests.training.test_processes.Noting"]
    assert edit(words)[0] == 0, Path("out").read_text()
    ours, theirs = (torch.load(f"rank-{rank}.pt") for rank in (0, 1))
    assert len(ours) > 3 and all(torch.equal(value, theirs[name]) for name, value in ours.items())


class Noting(AutoencoderIterator):
    """A task that writes down what each process has in the end."""

    def teardown(self, stage):
        if stage == "fit":
            torch.save(self.state_dict(), f"rank-{self.global_rank}.pt")


@pytest.mark.slow
def test_an_epoch_is_one_pass_over_all_images_whatever_the_number_of_processes():
    epochs = ["--num_steps", "null", "--num_epochs", 2, "--trainer/check_val_every_n_epoch", 1]
    code, run = edit([*AE, *TWO, *epochs, "--batch_size", 250])  # 1,500 images
    assert code == 0
    assert [path.name for path in sorted(run.path.glob("train/eval/*"))] == ["step-00000003", "step-00000006"]
    assert run.last_checkpoint().name == "model-6.ckpt"
