"""Weights & Biases, replaced by a module that records its calls; a run completes whatever fails in it."""

import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from invariances.cli import edflow
from invariances.config.checking import check
from invariances.config.reading import read
from invariances.errors import UserError
from invariances.training.loggers.wandb import Wandb, plain
from invariances.training.run import Run

CONFIGS = Path(__file__).parents[3] / "configs"
AE = ["-b", CONFIGS / "digits" / "ae.yaml", CONFIGS / "project.yaml", "--Model/width", 4, "--Model/z_dim", 8]
AE += ["--batch_size", 150, "--evaluation/grid/n_images", 2, "--trainer/accelerator", "cpu", "--log_freq", 1]
AE += ["-t", "--num_steps", 3]


class Service:
    """Stands in for the package."""

    def __init__(self, key=True, net=True, fails_at=None):
        self.key, self.net, self.fails_at = key, net, fails_at
        self.started, self.sent, self.ended, self.torn_down = [], [], [], False
        self.Settings, self.Image = dict, lambda picture: SimpleNamespace(picture=picture)

    def login(self, prompt=True, verify=True):
        assert not prompt, "nobody is there to answer"
        return self.key

    def init(self, mode, **arguments):
        json.dumps(arguments["config"])  # plain values
        if mode == "online" and not self.net:
            raise ConnectionError("connection refused\nand more lines")
        self.started.append({"mode": mode, **arguments})
        return self

    def teardown(self):
        self.torn_down = True

    def define_metric(self, *_, **__):
        pass

    def log(self, values):
        if self.fails_at is not None and values["step"] >= self.fails_at:
            raise RuntimeError("the service is down")
        self.sent.append(values)

    def finish(self, exit_code):
        self.ended.append(exit_code)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.fixture
def play(monkeypatch):
    def play(service):
        monkeypatch.setitem(sys.modules, "wandb", service)
        return service

    return play


def train(*words):
    start = time.monotonic()
    assert edflow.main([str(word) for word in (*AE, *words)]) == 0
    assert time.monotonic() - start < 30
    run = Run.open("logs/latest")
    assert run.last_checkpoint().name == "model-3.ckpt"
    assert list(run.path.glob("train/csv/metrics.csv")) and list(run.path.glob("train/pictures/grid-*3.png"))
    return run


def warnings(caplog):
    return [record.message for record in caplog.records if "integrations/wandb" in record.message]


def test_numbers_and_pictures_are_sent(play, caplog):
    service = play(Service())
    run = train()
    (started,) = service.started
    assert started["mode"] == "online" and started["project"] == "invariances" and started["entity"] is None
    assert started["id"] == run.path.name and started["dir"] == str(run.path / "train")
    assert started["config"]["Model"]["width"] == 4
    losses = {values["step"]: values["train/loss"] for values in service.sent if "train/loss" in values}
    assert sorted(losses) == [1, 2, 3] and all(np.isfinite(value) for value in losses.values())
    pictures = [values for values in service.sent if "grid" in values]
    assert {values["step"] for values in pictures} == {1, 2, 3}
    assert pictures[0]["grid"].picture.mode == "RGB"
    assert service.ended == [0] and not warnings(caplog)


def test_a_resumed_run_goes_on_in_the_same_place(play):
    service = play(Service())
    run = train()
    assert edflow.main(["-p", str(run.path), "-t", "--num_steps", "4"]) == 0
    assert [started["id"] for started in service.started] == [run.path.name] * 2
    assert all(started["resume"] == "allow" for started in service.started)


@pytest.mark.parametrize(
    "words", [["-d"], ["--integrations/wandb/active", "false"], ["--integrations/wandb", "null"]]
)
def test_switched_off_it_is_never_imported(monkeypatch, words, caplog):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuse(), *sys.meta_path])
    assert edflow.main([str(word) for word in (*AE, *words)]) == 0
    assert not warnings(caplog)


class Refuse:
    """No module of that name can be imported."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "wandb":
            raise ModuleNotFoundError("No module named 'wandb'", name="wandb")


def test_without_the_package_it_says_what_to_install(monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuse(), *sys.meta_path])
    train()
    assert warnings(caplog) == [
        "integrations/wandb: No module named 'wandb'; nothing is sent: pip install wandb"
    ]


def test_a_folder_of_that_name_is_no_package(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())  # what importing a folder `wandb` gives
    train()
    assert warnings(caplog) == [
        "integrations/wandb: the package wandb is missing; nothing is sent: pip install wandb"
    ]


def test_without_a_key_it_works_offline(play, caplog):
    service = play(Service(key=False))
    run = train()
    assert [started["mode"] for started in service.started] == ["offline"] and service.sent
    (warning,) = warnings(caplog)
    assert "wandb login" in warning and f"wandb sync {run.path}/train/wandb/" in warning


def test_without_the_net_it_works_offline(play, caplog):
    service = play(Service(net=False))
    train()
    assert [started["mode"] for started in service.started] == ["offline"] and service.torn_down
    (warning,) = warnings(caplog)
    assert "connection refused; working offline" in warning and "more lines" not in warning


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_the_mode_of_the_environment_counts(play, mode, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", mode)
    service = play(Service(key=False))
    train()
    assert [started["mode"] for started in service.started] == [mode] and not warnings(caplog)


def test_a_failure_later_on_is_logged_once(play, caplog):
    service = play(Service(fails_at=2))
    train()
    assert max(values["step"] for values in service.sent) == 1
    assert warnings(caplog) == [
        "integrations/wandb: the service is down; nothing more is sent; the local logs continue"
    ]


def test_what_is_sent_can_be_chosen(play):
    service = play(Service())
    train("--integrations/wandb/handlers", "[images]")
    assert service.sent and all("grid" in values for values in service.sent)


def test_configs_are_sent_as_plain_values():
    config = {"a": np.float32(0.5), "b": int, 3: (1, [None, True]), "c": {"d": Path("x"), "e": np.arange(2)}}
    expected = {"a": 0.5, "b": str(int), "3": [1, [None, True]], "c": {"d": "x", "e": "[0 1]"}}
    assert plain(config) == expected and json.dumps(plain(config))


@pytest.mark.parametrize(
    ("integrations", "message"),
    [
        ({"wandbb": {}}, "integrations/wandbb: unknown integration; did you mean wandb?"),
        ({"wandb": {"projct": "x"}}, "integrations/wandb/projct: unknown argument of Wandb; did you mean project?"),
        ({"wandb": {"project": 3}}, "integrations/wandb/project: got 3; expected text"),
        ({"wandb": {"folder": "x"}}, "integrations/wandb/folder: unknown argument of Wandb"),
        ({"wandb": 3}, "integrations/wandb: got 3; expected a mapping"),
        ("wandb", 'integrations: "wandb" is text; expected a mapping'),
    ],
)
def test_mistakes_in_the_section(integrations, message):
    config = read([CONFIGS / "digits" / "ae.yaml"]) | {"integrations": integrations}
    with pytest.raises(UserError, match=re.escape(message)):
        check(config)


def test_other_processes_send_nothing(play, monkeypatch):
    from pytorch_lightning.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    service = play(Service())
    Wandb(Path("x"), {}).finalize("success")
    assert not service.started and not service.ended
