"""Models pushed to, and loaded from, a stand-in of the Hugging Face hub."""

import sys

import pytest
import torch

from invariances.config.parts import load_network
from invariances.errors import UserError
from invariances.models import DigitClassifier
from invariances.training.run import resolve_checkpoint
from invariances.utils import model_folder
from invariances.zoo import hub, zoo
from tests.file_server import serving
from tests.zoo.hub_server import Hub

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving({}, Hub) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def folder(tmp_path):
    model_folder.write_weights(tmp_path / "mine" / model_folder.WEIGHTS, DigitClassifier(width=4).state_dict())
    model_folder.write_facts(
        tmp_path / "mine", model_folder.Facts({"model": "invariances.models.DigitClassifier", "Model": {"width": 4}})
    )
    return tmp_path / "mine"


def complaint(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_there_and_back(server, folder, monkeypatch):
    (folder / "secret.txt").write_text("no part of the model")
    assert hub.push(folder, "me/digits") == f"{server.url}/me/digits"
    assert sorted(server.content["me/digits"]) == ["config.json", "model.safetensors"]

    image = torch.zeros(1, 3, 32, 32)
    expected = load_network(folder)(image)
    assert torch.equal(zoo.load("hub:me/digits")(image), expected)
    assert torch.equal(load_network(resolve_checkpoint("hub:me/digits"))(image), expected)  # as in a config

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert torch.equal(zoo.load("hub:me/digits")(image), expected)  # from the cache


def test_a_name_that_is_not_there(server):
    message = complaint(zoo.load, "hub:me/nothing")
    assert "there is no such model, or it is private" in message and f"from {server.url}/me/nothing" in message


def test_a_model_of_another_kind(server):
    server.content["me/other"] = {"README.md": b"# hello"}
    assert "has no config.json; expected a model from invariances export" in complaint(zoo.load, "hub:me/other")


@pytest.mark.parametrize("name", ["digits", "a/b/c", "../digits", ""])
def test_names_have_two_parts(name, folder):
    assert "expected hub:user/name" in complaint(zoo.load, f"hub:{name}")
    assert "expected hub:user/name" in complaint(hub.push, folder, name)


def test_a_hub_that_is_away(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = complaint(zoo.load, "hub:me/digits")
    assert "download config.json, model.safetensors from http://127.0.0.1:9/me/digits into a folder" in message
    assert "nothing was uploaded" in complaint(hub.push, folder, "me/digits")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert 'pip install "invariances[hub]"' in complaint(zoo.load, "hub:me/digits")
