import hashlib
import sys
import urllib.error

import pytest
import torch
import torchvision
from torch import nn

from invariances.errors import UserError
from invariances.models import DigitClassifier
from invariances.models.pretrained import load_network
from tests.file_server import Handler, serving

ENTRY = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
LINEAR = nn.Linear(2, 2)


def test_torchvision_networks_have_the_size_they_were_studied_at():
    sizes = {name: load_network(f"torchvision:{name}").preprocess.size for name in ("squeezenet1_1", "resnet18")}
    assert sizes == {"squeezenet1_1": 224, "resnet18": 224}


def test_alexnet_takes_227_pixels(monkeypatch):
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: LINEAR)  # 61 million weights
    found = load_network("torchvision:alexnet")
    assert (found.in_size, found.preprocess.size, found.in_channels) == (227, 227, 3)


def test_import_paths_lead_to_classes_and_modules():
    assert isinstance(load_network("invariances.models.DigitClassifier").network, DigitClassifier)
    assert load_network(f"{__name__}.LINEAR").network is LINEAR


def test_modules_state_their_size_and_are_not_preprocessed():
    found = load_network(DigitClassifier(in_channels=1))
    assert (found.in_size, found.in_channels) == (32, 1)
    x = torch.rand(1, 1, 32, 32)
    assert torch.equal(found.preprocess(x), x)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("torchvision:resnet19", None, "torchvision model 'resnet19' does not exist; did you mean resnet18"),
        ("torchvision:", None, "torchvision model '' does not exist"),
        ("torchvision:resnet18", "IMAGENET", "weights of resnet18 'IMAGENET' does not exist.*IMAGENET1K_V1"),
        ("torchvison:alexnet", None, "cannot be imported.*torchvision:NAME"),
        ("alexnet", None, "cannot be imported.*torchvision:NAME"),
        ("invariances.models.NoSuchClassifier", None, "cannot be imported"),
        ("no_such_package.Network", None, "cannot be imported.*no_such_package"),
        ("os.getcwd", None, "returned a str; expected a torch.nn.Module"),
        ("invariances.models.DigitClassifier", "DEFAULT", "only torchvision: and timm: models"),
    ],
)
def test_mistakes_are_named(model, weights, message):
    with pytest.raises(ValueError, match=message):
        load_network(model, weights)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of weights; the function given puts a file at the address of those of squeezenet1_1."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))

    def serve(weights):
        torch.save(weights, tmp_path / "weights.pth")
        digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()[:8]
        named = (tmp_path / "weights.pth").rename(tmp_path / f"squeezenet1_1-{digest}.pth")
        monkeypatch.setattr(ENTRY.value, "url", named.as_uri())
        return named

    return serve


def test_weights_are_fetched_and_verified(hub):
    weights = torchvision.models.squeezenet1_1().state_dict()
    hub(weights)
    loaded = load_network("torchvision:squeezenet1_1", "IMAGENET1K_V1").network.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in loaded.items())


def test_weights_with_another_hash_are_refused(hub, tmp_path):
    hub(torchvision.models.squeezenet1_1().state_dict()).write_bytes(b"something else")
    with pytest.raises(UserError, match=r"IMAGENET1K_V1 of torchvision:squeezenet1_1: invalid hash value"):
        load_network("torchvision:squeezenet1_1", "DEFAULT")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_damaged_files_in_the_cache_are_named(hub, tmp_path):
    name = hub({}).name
    folder = tmp_path / "cache/hub/checkpoints"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"cut off")
    with pytest.raises(UserError, match=f"squeezenet1_1: .*put it into {folder}"):
        load_network("torchvision:squeezenet1_1", "DEFAULT")


def test_failed_downloads_say_what_to_fetch_and_where_to_put_it(hub, monkeypatch, tmp_path):
    def no_network(*_args, **_kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    with pytest.raises(UserError) as error:
        load_network("torchvision:squeezenet1_1", "IMAGENET1K_V1")
    for part in ("no route to host", ENTRY.url, str(tmp_path / "cache/hub/checkpoints")):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_without_timm_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match="pip install timm"):
        load_network("timm:resnet18")


def test_timm_networks_come_with_their_data_config():
    pytest.importorskip("timm")
    found = load_network("timm:test_resnet")
    assert (found.in_size, found.in_channels, found.preprocess.size) == (160, 3, 160)
    assert found.network(found.preprocess(found.probe())).shape == (2, 1000)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("timm:test_resnett", None, "timm model 'test_resnett' does not exist; did you mean test_resnet"),
        ("timm:test_resnet", "r161_in1k", "weights of test_resnet 'r161_in1k'.*did you mean r160_in1k"),
    ],
)
def test_mistakes_in_timm_names_are_named(model, weights, message):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=message):
        load_network(model, weights)


def test_failed_downloads_of_timm_are_named(monkeypatch):
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(pytest.importorskip("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)

    def no_network(name, pretrained):
        assert (name, pretrained) == ("test_resnet.r160_in1k", True)
        raise FileNotFoundError("cannot reach the hub\nmore lines")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(UserError, match=r"timm:test_resnet\.r160_in1k: cannot reach the hub; they come from") as error:
        load_network("timm:test_resnet", "r160_in1k")
    by_hand = "run hf download timm/test_resnet.r160_in1k elsewhere, and copy the folder models--timm--test_resnet.r160"
    assert by_hand in str(error.value) and "\n" not in str(error.value)


class Hub(Handler):
    """A hub whose address says how it answers."""

    do_HEAD = Handler.do_GET


@pytest.mark.parametrize(("answer", "reason"), [("busy", "it answers 503"), ("nothing", "ConnectionError")])
def test_a_hub_that_is_away_is_asked_once(answer, reason, monkeypatch, tmp_path):
    """timm's client would try for a minute."""
    pytest.importorskip("timm")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(b"", Hub) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"{server.url}/{answer}")
        with pytest.raises(UserError, match=rf"r160_in1k: .*/{answer} cannot be reached \({reason}\), and the cache"):
            load_network("timm:test_resnet", "r160_in1k")
    assert server.requests == [f"/{answer}"] and not constants.HF_HUB_OFFLINE
