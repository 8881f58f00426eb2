"""A model is used with the networks that it was trained on, or with none."""

from pathlib import Path

import pytest
import torch
from torch import nn

from invariances.cli import edflow
from invariances.models import DigitClassifier, Frozen, Greybox, Preprocess
from invariances.training.identity import identities
from invariances.training.run import Run
from invariances.utils import checkpoints
from tests.training.test_engine import AE, CINN, CLF, CONFIGS, metrics, run

LOGITS = ["-b", CONFIGS / "cinn.yaml", CONFIGS / "layers" / "logits.yaml", *CINN]


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def of(network):
    task = nn.Module()
    task.greybox = Frozen(network)
    return identities(task)["greybox"]


def test_weights_layer_preprocessing_and_class_are_told_apart():
    torch.manual_seed(0)
    network = DigitClassifier()
    same = of(Greybox(network, "conv1"))
    assert of(Greybox(network, "conv1")) == same
    assert same["class"] == "DigitClassifier" and same["layer"] == "conv1"
    others = [Greybox(network, "conv2"), Greybox(network, "conv1", preprocess=Preprocess(32)), network]
    others += [Greybox(network, "conv1", preprocess=Preprocess(32, std=(1.0, 1.0, 1.0)))]
    changed = DigitClassifier()
    changed.load_state_dict(network.state_dict())
    with torch.no_grad():
        next(changed.parameters()).flatten()[0] += 1e-6
    fingerprints = [same, *map(of, others), of(Greybox(changed, "conv1"))]
    assert len({str(each) for each in fingerprints}) == 6


def test_another_network_is_refused_on_evaluation_and_resume(capsys):
    run(*CLF, "-t", "--num_steps", 2), run(*AE, "-t", "--num_steps", 2)
    _, cinn = run(*LOGITS, "-t", "--num_steps", 2)
    before = metrics(cinn)["metrics"]
    path = Path(cinn.config()["GreyboxModel"]["checkpoint"])
    state = checkpoints.load(path)
    state["state_dict"] = {name: w + 0.1 if w.is_floating_point() else w for name, w in state["state_dict"].items()}
    path.chmod(0o644)
    checkpoints.save(state, path)

    for words in (["-p", cinn.path], ["-p", cinn.path, "-t", "--num_steps", 4]):
        capsys.readouterr()
        assert run(*words)[0] == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "was trained with another greybox (class DigitClassifier, layer logits, fingerprint " in line
        assert "--allow-other-network" in line
    assert run("-p", cinn.path, "--allow-other-network")[0] == 0
    assert metrics(cinn)["metrics"]["nll"] != before["nll"]


def test_an_older_checkpoint_without_identities_is_used():
    run(*CLF, "-t", "--num_steps", 2), run(*AE, "-t", "--num_steps", 2)
    _, cinn = run(*LOGITS, "-t", "--num_steps", 2)
    state = checkpoints.load(cinn.last_checkpoint())
    del state["networks"]
    checkpoints.save(state, cinn.last_checkpoint())
    assert edflow.main(["-p", str(cinn.path)]) == 0


def test_the_best_checkpoint_is_kept_and_a_training_without_progress_ends():
    words = [*AE, "-t", "--trainer/check_val_every_n_epoch", 1, "--keep_checkpoints", 1, "--early_stopping", 2]
    code, finished = run(*words, "--num_steps", 80, "--learning_rate", "1e-12")
    assert code == 0
    best = checkpoints.load(finished.checkpoints / "best.ckpt")
    assert int(best["state_dict"]["step"]) <= int(checkpoints.load(finished.last_checkpoint())["state_dict"]["step"])
    assert Run.open(finished.path).last_checkpoint().name != "best.ckpt"


def test_a_metric_that_is_not_measured(capsys):
    words = ["--num_steps", 20, "--trainer/check_val_every_n_epoch", 1, "--keep_best", "validation/los"]
    assert run(*AE, "-t", *words)[0] == 2
    assert "keep_best: validation/los was not measured; did you mean validation/loss?" in capsys.readouterr().err
