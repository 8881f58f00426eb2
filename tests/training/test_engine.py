"""Whole commands on real data: small networks, few steps."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from invariances.cli import edflow
from invariances.cli import invariances as command
from invariances.training import callbacks, engine
from invariances.training.run import Run
from invariances.utils import checkpoints

CONFIGS = Path(__file__).parents[2] / "configs" / "digits"
AE = ["-b", str(CONFIGS / "ae.yaml"), "--Model/width", "4", "--Model/z_dim", "8", "--batch_size", "150"]
AE += ["--evaluation/grid/n_images", "2", "--trainer/accelerator", "cpu"]
CLF = ["-b", str(CONFIGS / "clf.yaml"), "--batch_size", "150", "--trainer/accelerator", "cpu"]
CINN = ["--Transformer/in_channels", "8", "--Transformer/mid_channels", "8", "--Transformer/n_flows", "2"]
CINN += ["--batch_size", "150", "--evaluation/faithfulness/n_images", "50", "--trainer/accelerator", "cpu"]
CINN += ["--evaluation/grid/n_images", "2"]


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words):
    """The exit code of an edflow command, and the run that it began or went on with."""
    code = edflow.main([str(word) for word in words])
    return code, Run.open("logs/latest") if Path("logs/latest").exists() else None


def losses(run):
    """step -> loss, of the training log."""
    with (run.path / "train/csv/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert len({row["step"] for row in rows}) == len(rows)
    return {int(row["step"]): float(row["train/loss"]) for row in rows}


def metrics(run):
    found = [json.loads(path.read_text()) for path in run.path.rglob("metrics.json")]
    return max(found, key=lambda facts: facts["time"])


def test_the_whole_path_from_config_to_report(capsys):
    assert run(*CLF, "-t", "--num_steps", 4)[0] == 0
    assert run(*AE, "-t", "--num_steps", 4)[0] == 0
    runs = []
    for layer in ("conv3", "logits"):
        base = ["-b", CONFIGS / "cinn.yaml", CONFIGS / "layers" / f"{layer}.yaml"]
        code, cinn = run(*base, *CINN, "-t", "--num_steps", 3)
        assert code == 0
        runs.append(cinn)
    trained = metrics(cinn)
    assert trained["missing"] == {}
    assert (trained["layer"], trained["step"]) == ("logits", 3)
    assert cinn.config()["GreyboxModel"]["checkpoint"].endswith("model-4.ckpt")

    assert run("-p", cinn.path)[0] == 0  # evaluates the last checkpoint
    again = metrics(cinn)
    assert again["time"] > trained["time"]
    assert again["metrics"] == pytest.approx(trained["metrics"], rel=1e-6)
    assert run("-p", cinn.path, "-c", cinn.last_checkpoint())[0] == 0

    capsys.readouterr()
    assert command.main(["report", *(str(r.path) for r in reversed(runs)), "-o", "out"]) == 0
    assert capsys.readouterr().out.strip() == "out/report.html"
    page = Path("out/report.html").read_text()
    assert page.index("1. conv3") < page.index("2. logits")  # by depth, whatever the order of the runs
    assert 'src="data:image/png' in page and not re.search(r'(src|href)="(?!data:)', page)  # needs no other file
    with open("out/ladder.csv") as file:
        rows = list(csv.DictReader(file))
    references = ["cosine", "cosine_random", "cosine_nearest", "cosine_autoencoder"]
    agreements = ["class_agreement", "hue_agreement"]
    calibration = ["residual_variance", "spread_skill", "half_v_squared"]
    assert list(rows[0]) == ["layer", *agreements, *references, "relative_l2", "diversity", *calibration, "nll"]
    assert [row["layer"] for row in rows] == ["conv3", "logits"]
    assert float(rows[1]["cosine"]) == pytest.approx(again["metrics"]["cosine"], abs=1e-3)


def test_debug_mode_is_short_and_leaves_earlier_runs_alone():
    code, debug = run(*AE, "-t", "-d")
    assert code == 0
    assert metrics(debug)["step"] <= 3
    assert "digits_ae_debug" in debug.path.name


GAN = [*AE, "-t", "--Loss/disc_start", 12, "--Loss/disc_width", 4, "--Loss/disc_num_layers", 2]
GAN += ["--num_steps", 30, "--decay_start", 15, "--ckpt_freq", 100, "--log_freq", 1]
GAN += ["--trainer/check_val_every_n_epoch", 1]


def stop_after(step, monkeypatch):
    """Send this process a SIGTERM during the step."""
    count = callbacks.StepCounter.on_train_batch_end

    def on_train_batch_end(self, trainer, pl_module, *rest):
        count(self, trainer, pl_module, *rest)
        if int(pl_module.step) == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.StepCounter, "on_train_batch_end", on_train_batch_end)


def test_a_resumed_run_repeats_an_unbroken_one(monkeypatch):
    code, whole = run(*GAN)
    assert code == 0
    theirs = checkpoints.load(whole.last_checkpoint())["state_dict"]
    assert sorted(losses(whole)) == list(range(1, 31))
    for stop in (13, 10):  # within an epoch of 10 batches, and at the end of one
        with monkeypatch.context() as patch:
            stop_after(stop, patch)
            code, broken = run(*GAN, "--experiment_name", f"broken_{stop}")
        assert code == 143
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert broken.last_checkpoint().name == f"model-{stop}.ckpt"
        assert run("-p", broken.path, "-t")[0] == 0

        assert losses(broken) == losses(whole)
        ours = checkpoints.load(broken.last_checkpoint())["state_dict"]
        assert int(ours["step"]) == 30
        for name, weight in theirs.items():
            assert torch.equal(weight, ours[name]), name
        assert metrics(broken)["metrics"] == metrics(whole)["metrics"]
        steps = sorted(path.parent.name for path in broken.path.rglob("metrics.json"))
        assert steps == ["step-00000010", "step-00000020", "step-00000030"]


def test_discriminator_and_decay_start_at_their_steps():
    _, whole = run(*GAN)
    (table,) = whole.path.glob("train/csv/metrics.csv")
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    with_discriminator = [int(row["step"]) for row in rows if row["train/d_loss"]]
    assert with_discriminator == list(range(13, 31))


def test_an_ended_run_says_so_and_changes_nothing(caplog):
    _, ended = run(*AE, "-t", "--num_steps", 2)
    before = {path: path.stat().st_mtime_ns for path in ended.path.rglob("*.ckpt")}
    with caplog.at_level("INFO"):
        assert run("-p", ended.path, "-t")[0] == 0
    assert "has finished its 2 steps" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in ended.path.rglob("*.ckpt")} == before


def test_no_new_run_goes_on_from_the_end_of_another(capsys):
    _, ended = run(*AE, "-t", "--num_steps", 4, "--ckpt_freq", 2)
    first = ended.checkpoints / "model-2.ckpt"
    code, _ = run("-p", ended.path, "-t", "-c", first, "--num_steps", 2)
    assert code == 2 and f"{first}: has finished its 2 steps; raise num_steps" in capsys.readouterr().err
    assert len(list(Path("logs").iterdir())) == 2  # the run and the link to it


def test_an_ended_run_can_be_tried_out():
    _, ended = run(*AE, "-t", "--num_steps", 4)
    code, tried = run("-p", ended.path, "-t", "-d")
    assert code == 0 and tried.last_checkpoint().name == "model-7.ckpt"


def test_a_run_that_the_trainer_ends_is_saved():
    words = ["--num_steps", 100000, "--ckpt_freq", 50000, "--trainer/max_time", "00:00:00:01"]
    code, ended = run(*AE, "-t", *words)
    assert code == 0
    step = int(re.search(r"\d+", ended.last_checkpoint().name)[0])
    code, resumed = run("-p", ended.path, "-t", "--num_steps", step + 2, "--trainer/max_time", "null")
    assert code == 0 and resumed.last_checkpoint().name == f"model-{step + 2}.ckpt"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer/accelerator", "foo"], "trainer: "),
        (["--trainer/devices", "0"], "trainer: "),
        (["--trainer/max_time", "foo"], "trainer: "),
        (["--trainer/val_check_interval", "1000000"], "trainer: `val_check_interval`"),
        (["--trainer/gradient_clip_val", "1"], "trainer: Automatic gradient clipping is not supported"),
    ],
)
def test_settings_that_the_trainer_refuses(capsys, words, message):
    code, left = run(*AE, "-t", "--num_steps", 2, *words)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edflow: error")]
    assert code == 2 and line.startswith(f"edflow: error: {message}")
    assert left is None


def test_what_a_training_cannot_go_on_from(capsys):
    _, first = run(*AE, "-t", "--num_steps", 2)
    state = checkpoints.load(first.last_checkpoint())
    checkpoints.save(checkpoints.weights_of(state), "plain.ckpt")
    checkpoints.save({"state_dict": state["state_dict"]}, "weights.ckpt")
    words = ["-p", first.path, "-t", "--num_steps", 4]
    for path in ("plain.ckpt", "weights.ckpt"):
        assert run(*words, "-c", path)[0] == 2
        assert f"{path}: holds weights alone" in capsys.readouterr().err
    assert run(*words, "--Model/width", 8)[0] == 2
    assert "model-2.ckpt: does not fit AutoencoderIterator: of" in capsys.readouterr().err
    assert [path.name for path in Path("logs").iterdir() if not path.is_symlink()] == [first.path.name]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_evaluation_that_is_stopped_says_so(capsys, monkeypatch, signum):
    _, first = run(*AE, "-t", "--num_steps", 2)
    monkeypatch.setattr("invariances.evaluation.pictures.grid.save_grid", lambda *_: signal.raise_signal(signum))
    assert run("-p", first.path)[0] == 128 + signum
    assert f"stopped by {signum.name}" in capsys.readouterr().err
    assert not (first.path / "eval").exists()


def test_a_first_stage_of_the_wrong_kind_is_named(capsys):
    run(*CLF, "-t", "--num_steps", 2)
    run(*AE, "-t", "--num_steps", 2)
    words = ["-b", CONFIGS / "cinn.yaml", CONFIGS / "layers" / "logits.yaml", *CINN, "-t", "--num_steps", 2]
    assert run(*words, "--AutoencoderModel/checkpoint", "latest:digits_clf")[0] == 2
    message = capsys.readouterr().err
    assert "AutoencoderModel/checkpoint: " in message and "holds a DigitClassifier, which has no encode" in message


def test_a_class_that_the_model_does_not_have_is_reported(capsys):
    assert run(*CLF, "-t", "--num_steps", 2, "--Model/n_classes", 5)[0] == 2
    message = capsys.readouterr().err
    assert "an example has class 9, but the model has 5 classes, 0 to 4; set Model/n_classes" in message


def test_retraining_starts_the_counter_at_0():
    _, first = run(*AE, "-t", "--num_steps", 2)
    code, second = run("-p", first.path, "-t", "-r", "--num_steps", 1)
    assert code == 0
    assert second.path != first.path
    assert second.last_checkpoint().name == "model-1.ckpt"


def test_random_numbers_that_preparing_the_data_takes_change_nothing(monkeypatch):
    """As when pictures are cached for the first time."""
    before = losses(run(*CLF, "-t", "--num_steps", 2, "--log_freq", 1)[1])
    build = engine.build_loader
    monkeypatch.setattr(engine, "build_loader", lambda *given: (torch.rand(1), build(*given))[1])
    assert losses(run(*CLF, "-t", "--num_steps", 2, "--log_freq", 1)[1]) == before


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    results = [metrics(run(*AE, "-t", "--num_steps", 3, "--seed", seed)[1])["metrics"] for seed in (5, 5, 6)]
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_frozen_networks_do_not_change_and_are_not_saved():
    _, clf = run(*CLF, "-t", "--num_steps", 2)
    _, ae = run(*AE, "-t", "--num_steps", 2)
    before = [r.last_checkpoint().read_bytes() for r in (clf, ae)]
    base = ["-b", CONFIGS / "cinn.yaml", CONFIGS / "layers" / "penultimate.yaml"]
    _, cinn = run(*base, *CINN, "-t", "--num_steps", 3)
    assert [r.last_checkpoint().read_bytes() for r in (clf, ae)] == before
    names = checkpoints.load(cinn.last_checkpoint())["state_dict"]
    assert {name.split(".")[0] for name in names} == {"model", "baseline", "step"}


def test_a_condition_that_does_not_fit_the_layer_is_refused_with_both_keys(capsys):
    run(*CLF, "-t", "--num_steps", 1), run(*AE, "-t", "--num_steps", 1)
    base = ["-b", CONFIGS / "cinn.yaml", CONFIGS / "layers" / "penultimate.yaml"]
    capsys.readouterr()
    code, _ = run(*base, *CINN, "-t", "--Transformer/conditioning_in_channels", 65)
    message = capsys.readouterr().err
    assert code == 2
    assert re.search(r"conditioning_in_channels.* 64", message) and "penultimate" in message


def poison(monkeypatch, at_step):
    """Make every pixel of one training batch NaN."""
    from invariances.data import ColorfulDigitsTrain

    make, count = ColorfulDigitsTrain.__getitems__, [0]

    def getitems(self, indices):
        batch = make(self, indices)
        count[0] += 1
        return {**batch, "image": batch["image"] * math.nan} if count[0] == at_step else batch

    monkeypatch.setattr(ColorfulDigitsTrain, "__getitems__", getitems)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(capsys, monkeypatch):
    poison(monkeypatch, at_step=7)
    code, broken = run(*AE, "-t", "--num_steps", 20, "--ckpt_freq", 5)
    message = capsys.readouterr().err
    assert code == 2
    assert "step 6" in message and "train/pixel_loss = nan" in message  # the seventh batch, counted from 0
    last = broken.last_checkpoint()
    assert last.name == "model-5.ckpt"
    weights = checkpoints.load(last)["state_dict"]
    assert all(weight.isfinite().all() for weight in weights.values())


def test_an_evaluation_that_fails_is_missing_with_its_reason_and_ends_nothing(monkeypatch, caplog):
    monkeypatch.setattr("invariances.evaluation.pictures.grid.save_grid", lambda *_: 1 / 0)
    code, finished = run(*AE, "-t", "--num_steps", 2)
    assert code == 0
    assert metrics(finished)["missing"] == {"grid": "ZeroDivisionError: division by zero"}
    assert "evaluation grid is missing at step 2" in caplog.text


@pytest.mark.slow  # scripts/soak.py does it too
def test_training_goes_on_after_a_kill():
    words = [sys.executable, "-m", "invariances.cli.edflow", *AE, "-t"]
    words += ["--num_steps", "100000", "--ckpt_freq", "2", "--trainer/check_val_every_n_epoch", "100000"]
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(Path("logs").glob("*/train/checkpoints/model-8.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    killed = Run.open("logs/latest")
    step = int(re.search(r"\d+", killed.last_checkpoint().name)[0])
    assert step >= 8
    code, resumed = run("-p", killed.path, "-t", "--num_steps", step + 3)
    assert (code, resumed.path) == (0, killed.path)
    assert resumed.last_checkpoint().name == f"model-{step + 3}.ckpt"


def test_with_a_cache_of_representations_the_losses_are_those_without(tmp_path, monkeypatch):
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path / "data"))
    run(*CLF, "-t", "--num_steps", 2)
    run(*AE, "-t", "--num_steps", 2)
    base = ["-b", CONFIGS / "cinn.yaml", CONFIGS / "layers" / "logits.yaml", *CINN, "--log_freq", 1]
    base += ["--evaluation", "{}"]
    found = []
    for kept in ("false", "true"):
        code, cinn = run(*base, "-t", "--num_steps", 12, "--cache/representations", kept, "--cache/epochs", 2)
        assert code == 0
        found.append(losses(cinn))
    assert len(found[0]) == 12  # in two epochs, with colours of their own
    assert found[0] == pytest.approx(found[1], rel=1e-5)
