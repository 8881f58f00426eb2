"""Folders of models: what is written is read; what a stranger wrote is checked."""

import json

import pytest
import torch
from safetensors.torch import save_file

from invariances.config.parts import load_network
from invariances.errors import UserError
from invariances.models import DigitClassifier
from invariances.utils import checkpoints, model_folder
from invariances.utils.model_folder import CONFIG, WEIGHTS, Facts, read_facts, write_facts, write_weights

CONTENT = {"model": "invariances.models.DigitClassifier", "Model": {"width": 4}}


@pytest.fixture
def folder(tmp_path):
    write_weights(tmp_path / WEIGHTS, DigitClassifier(width=4).state_dict())
    write_facts(tmp_path, Facts(CONTENT))
    return tmp_path


def complaint(folder):
    with pytest.raises(UserError) as caught:
        load_network(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    return str(caught.value)


def changed(folder, **content):
    (folder / CONFIG).write_text(json.dumps({**CONTENT, **content}))


def test_a_folder_is_loaded_like_a_checkpoint(folder):
    network = load_network(folder)
    assert isinstance(network, DigitClassifier) and not network.training
    weights = checkpoints.weights_of(checkpoints.load(folder))
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_a_file_of_safetensors_is_loaded_with_its_class_given(folder):
    network = load_network(folder / WEIGHTS, CONTENT["model"], {"Model": CONTENT["Model"]})
    assert isinstance(network, DigitClassifier)


def test_anyone_may_read_the_weights(folder):
    assert (folder / WEIGHTS).stat().st_mode == (folder / CONFIG).stat().st_mode


def test_tensors_that_share_memory(tmp_path):
    tensor = torch.arange(4.0)
    write_weights(tmp_path / WEIGHTS, {"a": tensor, "b": tensor[1:], "c": tensor.view(2, 2).mT})
    read = model_folder.read_weights(tmp_path / WEIGHTS)
    assert torch.equal(read["b"], tensor[1:]) and torch.equal(read["c"], tensor.view(2, 2).mT)


def test_only_the_class_its_arguments_and_known_facts_are_taken(folder):
    changed(folder, iterator="os.system", networks={"greybox": {"class": "Net"}})
    assert read_facts(folder) == Facts(CONTENT, networks={"greybox": {"class": "Net"}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": 3}, "names no class"),
        ({"weights": "../other.safetensors"}, "expected the name of a file in this folder"),
        ({"weights": "/etc/passwd"}, "expected the name of a file in this folder"),
        ({"weights": "missing.safetensors"}, "missing.safetensors: no such file"),
        ({"Model": {"width": 5}}, "of another shape"),
    ],
)
def test_what_a_stranger_may_have_written(folder, content, message):
    changed(folder, **content)
    assert message in complaint(folder)


@pytest.mark.parametrize(
    ("model", "message"),
    [("subprocess.Popen", "subprocess"), ("os.system", "os"), ("collections.OrderedDict", "collections")],
)
def test_classes_obey_the_rules_of_configs(folder, model, message):
    changed(folder, model=model)
    with pytest.raises(UserError, match=message):
        load_network(folder)


@pytest.mark.parametrize("text", ["{", "[1]", '"text"', "[" * 100_000, "\udcff"])
def test_a_config_that_is_none(folder, text):
    (folder / CONFIG).write_bytes(text.encode(errors="surrogateescape"))
    assert CONFIG in complaint(folder)


def test_a_config_that_is_too_large(folder):
    (folder / CONFIG).write_text(" " * 1_000_001)
    assert "expected at most 1,000,000" in complaint(folder)


def weights():
    return DigitClassifier(width=4).state_dict()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (weights() | {"extra": torch.zeros(1)}, "1 unknown (extra)"),
        ({name: value for name, value in weights().items() if name != "logits.bias"}, "1 missing (logits.bias)"),
        (weights() | {"logits.bias": torch.full((10,), torch.nan)}, "1 weights are not finite (logits.bias)"),
        (weights() | {"conv1.1.running_var": torch.full((4,), torch.inf)}, "not finite (conv1.1.running_var)"),
    ],
)
def test_weights_are_strict_and_finite(folder, tensors, message):
    save_file(tensors, folder / WEIGHTS)
    assert message in complaint(folder)


@pytest.mark.parametrize("n", [0, 7, 1000, -1])
def test_weights_cut_off(folder, n):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:n])
    assert "is no file of safetensors, or damaged" in complaint(folder)


def test_the_model_of_a_task_takes_the_weights(folder):
    task = torch.nn.Module()
    task.model = DigitClassifier(width=4)
    task.register_buffer("step", torch.tensor(7))
    checkpoints.restore(task, folder)
    assert torch.equal(task.model.logits.bias, load_network(folder).logits.bias) and task.step == 7
    with pytest.raises(UserError, match="holds weights alone and cannot be resumed"):
        checkpoints.restore(task, folder, resume=True)
