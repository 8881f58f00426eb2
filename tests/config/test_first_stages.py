"""First stages of a config: autoencoders of a user's class, of diffusers, and without weights."""

import logging

import pytest
import torch
from torch import nn

from invariances.config.parts import PARTS
from invariances.errors import UserError
from invariances.models import BigAE, VectorCodes
from tests.models.first_stages.worlds import small_bigae


class Small(nn.Module):
    """The code is a map, (width, H/2, W/2), and no distribution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, width, 2, stride=2)
        self.up = nn.ConvTranspose2d(width, 3, 2, stride=2)

    def encode(self, x):
        return self.down(x)

    def decode(self, code):
        return self.up(code)


class Pictures:
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index):
        return {"image": torch.zeros(3, 6, 8)}


def build(node):
    config = {"AutoencoderModel": node, "datasets": {"validation": "tests.config.test_first_stages.Pictures"}}
    assert list(PARTS["autoencoder"].check(config, "AutoencoderModel")) == []
    return PARTS["autoencoder"].build(config, "AutoencoderModel")


def test_a_class_of_the_user_with_maps_as_codes(tmp_path):
    network = Small(5)
    torch.save({f"module.{name}": value for name, value in network.state_dict().items()}, tmp_path / "a.pt")
    where = {"model": "tests.config.test_first_stages.Small", "subconfig": {"Model": {"width": 5}}}
    first_stage = build({"checkpoint": str(tmp_path / "a.pt"), **where})
    assert isinstance(first_stage, VectorCodes) and first_stage.z_dim == 5 * 3 * 4
    x = torch.randn(2, 3, 6, 8)
    torch.testing.assert_close(first_stage.decode(first_stage.encode(x).mode()), network.decode(network.encode(x)))


ARGUMENTS = {"in_size": 128, "z_dim": 101, "type": "resnet18", "norm": "an", "use_actnorm_in_dec": True, "width": 4}


def test_the_big_autoencoder_without_weights(caplog):
    node = {"model": "invariances.models.BigAE", "subconfig": {"Model": ARGUMENTS}, "checkpoint": None}
    with caplog.at_level(logging.WARNING):
        first_stage = build(node)
    assert isinstance(first_stage, BigAE) and not first_stage.training
    assert "AutoencoderModel: checkpoint is null, so invariances.models.BigAE has random weights" in caplog.text


def test_codes_of_a_deep_random_encoder_with_batch_norm_are_of_usable_size():
    torch.manual_seed(0)
    model = ARGUMENTS | {"norm": "bn", "use_actnorm_in_dec": False, "type": "resnet101"}
    first_stage = build({"model": "invariances.models.BigAE", "subconfig": {"Model": model}, "checkpoint": None})
    with torch.no_grad():
        posterior = first_stage.encode(torch.rand(2, 3, 128, 128) * 2 - 1)
        assert posterior.mean.abs().max() < 30 and posterior.logvar.max() < 10
        assert first_stage.decode(posterior.sample()).isfinite().all()


def test_and_with_them(tmp_path):
    network = small_bigae(norm="bn")
    torch.save(network.state_dict(), tmp_path / "a.ckpt")
    subconfig = {"Model": ARGUMENTS | {"norm": "bn", "use_actnorm_in_dec": False}}
    node = {"model": "invariances.models.BigAE", "subconfig": subconfig, "checkpoint": str(tmp_path / "a.ckpt")}
    assert torch.equal(build(node).last_layer, network.last_layer)


def test_checkpoint_null_needs_a_class():
    assert "expected a path" in next(PARTS["autoencoder"].check({"A": {"checkpoint": None}}, "A"))


def test_diffusers_needs_no_checkpoint(monkeypatch):
    monkeypatch.setattr("invariances.models.first_stages.diffusers.load_diffusers", lambda name: Small(2))
    assert build({"model": "diffusers:some/name"}).z_dim == 2 * 3 * 4
    config = {"A": {"model": "diffusers:some/name", "checkpoint": "a.ckpt"}}
    assert list(PARTS["autoencoder"].check(config, "A")) == [
        "A/checkpoint: not used with diffusers:some/name; remove it"
    ]


def test_a_network_that_cannot_decode(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "a.pt")
    node = {
        "model": "torch.nn.Linear",
        "subconfig": {"Model": {"in_features": 2, "out_features": 2}},
        "checkpoint": str(tmp_path / "a.pt"),
    }
    with pytest.raises(UserError, match=r"a.pt holds a Linear, which has no encode; expected a network"):
        build(node)
