"""The library diffusers is not needed: a stand-in has the same attributes."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from invariances.errors import UserError
from invariances.models.first_stages.diffusers import DiffusersAutoencoder, load_diffusers

constants = pytest.importorskip("huggingface_hub.constants")


class Latent(nn.Module):
    """Codes with mean 10 x + 1 and standard deviation e."""

    config = SimpleNamespace(scaling_factor=0.1, shift_factor=1.0)

    def encode(self, x):
        mean = 10 * x + 1
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, logvar=torch.full_like(mean, 2.0)))

    def decode(self, code):
        return SimpleNamespace(sample=(code - 1) / 10)

    @classmethod
    def from_pretrained(cls, source, local_files_only):
        if not local_files_only:
            raise OSError(f"{source} is not on the hub\nand more lines")
        return cls()


def test_codes_are_scaled_and_shifted():
    x = torch.randn(2, 4, 3, 3)
    posterior = DiffusersAutoencoder(Latent()).encode(x)
    torch.testing.assert_close(posterior.mean, x)
    torch.testing.assert_close(posterior.logvar.exp().sqrt(), torch.full_like(x, 0.1 * torch.e))
    torch.testing.assert_close(DiffusersAutoencoder(Latent()).decode(posterior.mode()), x)


def test_from_a_folder_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setitem(sys.modules, "diffusers", module := ModuleType("diffusers"))
    module.AutoencoderKL = Latent
    assert not load_diffusers(f"diffusers:{tmp_path}").training
    with pytest.raises(UserError, match=r"^diffusers:no/such: no/such is not on the hub; expected a folder of"):
        load_diffusers("diffusers:no/such")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match="needs diffusers; install it with: pip install"):
        load_diffusers("diffusers:name")


def test_an_autoencoder_of_the_library(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 2, "scaling_factor": 0.5}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    source = diffusers.AutoencoderKL(**sizes, **blocks).eval()
    source.save_pretrained(tmp_path)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        autoencoder, expected = load_diffusers(f"diffusers:{tmp_path}"), source.encode(x).latent_dist.mean
        torch.testing.assert_close(autoencoder.encode(x).mean, expected / 2)
        torch.testing.assert_close(autoencoder.decode(expected / 2), source.decode(expected).sample)
