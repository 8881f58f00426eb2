"""The model of a run as a folder: complete, loadable by path, without anything private."""

import json

import pytest
import torch

from invariances.cli import invariances as command
from invariances.config.parts import load_network
from invariances.errors import UserError
from invariances.models import DigitClassifier
from invariances.training.exporting import export
from invariances.training.run import Run, resolve_checkpoint
from invariances.utils import checkpoints
from invariances.zoo import hub, zoo

CONFIG = {
    "experiment_name": "digits",
    "model": "invariances.models.DigitClassifier",
    "Model": {"width": 4},
    "iterator": "invariances.iterators.ClassifierIterator",
    "datasets": {"train": {"class": "invariances.data.LabelFolder", "folder": "/home/me/private"}},
    "first_stage": {"checkpoint": "/home/me/private/model-1.ckpt"},
}
NETWORKS = {"greybox": {"class": "AlexNet", "layer": "features.11", "fingerprint": "0123456789ab"}}
METRICS = {"accuracy": 0.9876, "accuracy_ci": 0.0123, "loss": 0.5, "broken": None}


def trained(config=CONFIG, step=1200):
    run = Run.create("digits")
    run.save_config(config, "train")
    network = DigitClassifier(width=4)
    state = {f"model.{name}": value for name, value in network.state_dict().items()} | {"step": torch.tensor(step)}
    checkpoint = {"state_dict": state, "config": config, "networks": NETWORKS}
    checkpoints.save(checkpoint, run.checkpoints / f"model-{step}.ckpt")
    folder = run.path / "train" / "eval" / "step-00001200"
    folder.mkdir(parents=True)
    facts = {"time": "2026-11-25T10:00:00+00:00", "metrics": METRICS, "legend": {"accuracy": "of the classes"}}
    (folder / "metrics.json").write_text(json.dumps(facts))
    return run, network


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def complaint(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_folder_is_loaded_by_its_path(tmp_path):
    run, network = trained()
    folder = export(run, tmp_path / "mine")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for loaded in (zoo.load(folder), zoo.load("mine"), load_network(resolve_checkpoint("mine"))):
        assert not loaded.training
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert checkpoints.load(folder)["networks"] == NETWORKS  # so that others are refused, as with checkpoints


def test_the_card_says_what_the_run_knows_and_nothing_private():
    run, _ = trained()
    folder = export(run)
    assert folder == run.path / "export"
    card = (folder / "README.md").read_text()
    lines = ["# digits", "- trained by: `invariances.iterators.ClassifierIterator`, 1,200 steps"]
    lines += ["- train data: `invariances.data.LabelFolder`"]
    lines += ["- greybox: class `AlexNet`, layer `features.11`, fingerprint `0123456789ab`"]
    lines += ["| `accuracy` | 0.9876 | ± 0.0123 | of the classes |", "| `loss` | 0.5 |  |  |"]
    for line in lines:
        assert line in card.splitlines()
    assert "invariances 0." in card and "torch" in card
    for path in folder.iterdir():
        assert b"private" not in path.read_bytes()
    assert "licen" not in card and "broken" not in card


def test_an_earlier_export_is_replaced_and_nothing_else(tmp_path):
    run, _ = trained()
    folder = export(run, tmp_path / "mine")
    (folder / "model.safetensors").write_bytes(b"old")
    export(run, folder)
    assert isinstance(zoo.load(folder), DigitClassifier)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for name in ("other", "file"):
        assert "is there already and is no exported model" in complaint(export, run, tmp_path / name)


def test_a_run_without_a_checkpoint():
    run = Run.create("digits")
    run.save_config(CONFIG, "train")
    assert "has no checkpoint yet" in complaint(export, run)


def test_a_model_that_needs_another_one():
    run, _ = trained(CONFIG | {"Model": {"width": 4, "teacher": {"checkpoint": "/home/me/teacher.ckpt"}}})
    assert "Model/teacher/checkpoint names /home/me/teacher.ckpt" in complaint(export, run)


def test_the_command(capsys, monkeypatch):
    trained()
    pushed = []
    monkeypatch.setattr(hub, "push", lambda folder, name: pushed.append((folder.name, name)) or "https://x/me/mine")
    assert command.main(["export", "latest:digits", "--to", "mine", "--push", "me/mine"]) == 0
    assert capsys.readouterr().out == "mine\nhttps://x/me/mine\n" and pushed == [("mine", "me/mine")]
    assert command.main(["export", "latest:digitz"]) == 2
    assert capsys.readouterr().err.startswith("invariances: error: latest:digitz: no such run")
