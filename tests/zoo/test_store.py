"""The zoo against a server on this machine: what arrives, what does not, and what is made of it."""

import hashlib
import io
import json
import os
import tempfile
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torchvision

from invariances import models
from invariances.config.classes import locate
from invariances.config.parts import load_network
from invariances.config.signatures import mistakes
from invariances.errors import UserError
from invariances.training.run import resolve_checkpoint
from invariances.utils import download as downloads
from invariances.zoo import Entry, Zoo, store
from invariances.zoo import zoo as released
from invariances.zoo.entries import ENTRIES
from tests import golden
from tests.file_server import serving

CINN = "invariances.flows.ConditionalTransformer"
NOBODY = 65534
FAULTS = ["changed", "page", "empty", "half", "missing", "forbidden", "busy", "nothing"]


def packed(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def single(tensors):
    """In the precision of released files."""
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


CONTENT = packed({"model": single(golden.load("cinn_dense", "weights.")), "optimizer": {}})
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server():
    with serving(CONTENT) as server:
        yield server


def shop(url, checksum=MD5, model=CINN):
    arguments = dict(golden.config("cinn_dense")["Transformer"])
    return Zoo({"cinn": Entry("cinn", url, "released.ckpt", "", checksum, model=model, arguments=arguments)})


def complaint(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextmanager
def read_only(folder):
    folder.chmod(0o555)
    with no_root(folder):
        yield
    folder.chmod(0o755)


@contextmanager
def no_root(folder):
    """Be another user than root, who may write everywhere; the folders above may be searched by that one too."""
    if os.geteuid():
        yield
        return
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and parent.is_relative_to(tempfile.gettempdir()):
            parent.chmod(parent.stat().st_mode | 0o055)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def assert_golden(model):
    example = single(golden.load("cinn_dense"))
    assert not model.training
    v, logdet = model(example["input"], example["conditioning"])
    torch.testing.assert_close(v, example["output"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logdet, example["logdet"], rtol=1e-4, atol=1e-4)


class TestRecords:
    def test_every_entry_has_a_name_of_its_own_an_address_and_a_whole_checksum(self):
        assert len(ENTRIES) == 28
        for name, entry in ENTRIES.items():
            assert name == entry.name and entry.url.startswith("https://") and entry.paper
            assert entry.checksum is None or len(entry.checksum) == len("md5:") + 32
        assert sum(entry.checksum is None for entry in ENTRIES.values()) == 4
        assert len({entry.url for entry in ENTRIES.values()}) == len(ENTRIES)

    def test_the_settings_of_the_published_flows(self):
        flow = released.entry("cinn_alexnet_aae_conv5").arguments
        assert flow["conditioning_in_channels"] == 256 and flow["conditioning_spatial_size"] == 13
        assert released.entry("cinn_resnet_animalfaces10_ae_avgpool").arguments["conditioning_depth"] == 6

    @pytest.mark.parametrize("name", [n for n, e in ENTRIES.items() if e.model])
    def test_every_class_takes_its_arguments(self, name):
        entry = ENTRIES[name]
        assert list(mistakes(locate(entry.model, "model"), entry.arguments, "Model")) == []

    def test_a_flow_of_full_size_has_the_published_number_of_weights(self):
        entry = released.entry("cinn_alexnet_aae_fc6")
        with torch.device("meta"):
            flow = locate(entry.model, "model")(**entry.arguments)
        assert sum(parameter.numel() for parameter in flow.parameters()) == pytest.approx(204.6e6, rel=1e-3)


class TestLoading:
    def test_a_released_file_becomes_a_ready_model(self, server):
        assert_golden(shop(f"{server.url}/good").load("cinn"))

    def test_the_second_time_costs_no_request(self, server):
        zoo = shop(f"{server.url}/good")
        assert zoo.get("cinn") == zoo.path("cinn") == zoo.get("zoo:cinn")
        assert server.requests == ["/good"] and zoo.state("cinn") == "good"

    def test_a_config_may_name_it(self, server, monkeypatch):
        monkeypatch.setattr(store.zoo, "entries", shop(f"{server.url}/good").entries)
        for text in ("zoo:cinn", "cinn"):
            path = resolve_checkpoint(text)
            assert_golden(load_network(path))
        assert path == released.path("cinn").parent  # the config of a run has the folder, which says what is in it

    def test_a_file_of_its_name_comes_first(self):
        Path("cinn").write_bytes(CONTENT)
        assert shop("http://127.0.0.1:9/").find("cinn") == Path("cinn")

    def test_a_changed_record_is_written_again(self, server):
        zoo = shop(f"{server.url}/good")
        config = zoo.find("cinn") / "config.json"
        written = config.read_text()
        config.write_text(json.dumps({"model": "torch.nn.Identity"}))
        zoo.find("cinn")
        assert config.read_text() == written

    def test_a_file_of_no_class_is_only_fetched(self, server):
        zoo = shop(f"{server.url}/good", model=None)
        assert "cinn: is a file, of which no model is made here" in complaint(zoo.load, "cinn")
        assert zoo.find("zoo:cinn") == zoo.path("cinn") and zoo.path("cinn").read_bytes() == CONTENT

    def test_unknown_names(self):
        message = complaint(released.load, "zoo:bigae_animalz")
        assert message == "bigae_animalz: no such model in the zoo; did you mean bigae_animals?"
        assert "did you mean bigae_animals?" in complaint(resolve_checkpoint, "bigae_animalz")
        assert "no such file" in complaint(released.load, "nothing_like_that")


class TestFetching:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_fault_is_one_line_with_what_to_do_and_leaves_no_file(self, server, fault):
        zoo = shop(f"{server.url}/{fault}")
        message = complaint(zoo.load, "cinn")
        assert message.startswith("cinn: could not download released.ckpt")
        assert message.endswith(f"fetch {server.url}/{fault} and save it as {zoo.path('cinn')}")
        assert zoo.state("cinn") == "absent" and not zoo.path("cinn").parent.joinpath("config.json").exists()
        assert_golden(shop(f"{server.url}/good").load("cinn"))

    def test_a_server_that_is_away(self):
        zoo = shop("http://127.0.0.1:9/x")
        assert f"fetch http://127.0.0.1:9/x and save it as {zoo.path('cinn')}" in complaint(zoo.get, "cinn")
        zoo.path("cinn").write_bytes(CONTENT)  # the steps by hand
        assert_golden(zoo.load("cinn"))

    def test_without_a_published_checksum_the_first_file_is_the_right_one(self, server):
        zoo = shop(f"{server.url}/good", checksum=None)
        assert_golden(zoo.load("cinn"))
        assert zoo.state("cinn") == "first seen"
        zoo.path("cinn").write_bytes(CONTENT + b"x")
        assert zoo.state("cinn") == "damaged"

    def test_a_damaged_file_is_fetched_anew(self, server):
        zoo = shop(f"{server.url}/good")
        zoo.get("cinn").write_bytes(b"half")
        assert zoo.state("cinn") == "damaged"
        assert_golden(zoo.load("cinn"))

    def test_a_cache_that_cannot_be_written(self, server, tmp_path, monkeypatch):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "zoo").write_text("a file where a folder is needed")  # holds for root too
        message = complaint(shop(f"{server.url}/good").get, "cinn")
        assert "cannot be written" in message and "INVARIANCES_DATA" in message

    @pytest.mark.parametrize("checksum", [MD5, None])
    def test_a_read_only_cache_serves_what_is_in_it(self, server, checksum):
        zoo = shop(f"{server.url}/good", checksum)
        config = zoo.find("cinn") / "config.json"
        with read_only(config.parent):
            assert_golden(zoo.load("cinn"))
            assert_golden(load_network(zoo.find("cinn")))
        config.unlink()
        with read_only(config.parent):
            assert_golden(zoo.load("cinn"))
            message = complaint(zoo.find, "cinn")
        assert "config.json cannot be written (Permission denied)" in message and "invariances zoo get cinn" in message

    def test_a_read_only_cache_without_the_file_is_told(self, server, tmp_path):
        zoo = shop(f"{server.url}/good")
        (tmp_path / "data" / "zoo").mkdir(parents=True)
        with read_only(tmp_path / "data" / "zoo"):
            message = complaint(zoo.get, "cinn")
        assert "cannot be written" in message and "INVARIANCES_DATA" in message and server.requests == []

    def test_two_processes_at_once_fetch_once(self, server):
        zoo = shop(f"{server.url}/slow")
        processes = [get_context("fork").Process(target=zoo.find, args=("cinn",)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        assert server.requests == ["/slow"] and zoo.state("cinn") == "good"


def test_weights_that_do_not_fit_are_refused(server):
    zoo = shop(f"{server.url}/good")
    zoo.entry("cinn").arguments["n_flows"] = 4
    message = complaint(zoo.load, "cinn")
    assert str(zoo.path("cinn")) in message and "missing" in message


def test_the_classifiers_of_the_zoo_have_torchvisions_names_and_normalise_by_themselves():
    torch.manual_seed(0)
    network = models.ResNetClassifier(n_classes=10, type="resnet50").eval()
    with torch.device("meta"):
        theirs = torchvision.models.resnet50(num_classes=10).eval()
    theirs.load_state_dict(network.state_dict(), assign=True)  # strictly
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(network(images), theirs(models.Preprocess(224)(images)))


@pytest.mark.slow
def test_the_classifiers_of_the_zoo_are_split_at_the_layers_of_the_paper():
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    network = models.ResNetClassifier(n_classes=10, type="resnet50").eval()
    assert models.Greybox(network, layer="input").shape == (3, 224, 224)
    box = models.Greybox(network, layer="avgpool")
    assert box.shape == (2048, 1, 1) and box.exact(images) < 1e-4
