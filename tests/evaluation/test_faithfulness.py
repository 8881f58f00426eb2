"""A world where everything is known: images of three pixels, a network that sees the first alone, an exact flow."""

import math

import pytest
import torch
from torch import nn

from invariances.evaluation import faithfulness
from invariances.models import DiagonalGaussian

SIGMA = 1e-4  # how sharply the flow knows the pixel that the network sees


class Pixels(nn.Module):
    """The autoencoder: the code is the image."""

    def encode(self, x):
        return DiagonalGaussian(x, torch.zeros_like(x), deterministic=True)

    def decode(self, code):
        return code


class FirstPixel(nn.Module):
    """The network: it sees the first pixel, and its class is the sign."""

    def encode(self, x):
        return torch.cat([x[:, :1], torch.ones_like(x[:, :1])], dim=1)

    def decode(self, z):
        return torch.cat([z[:, 0], -z[:, 0]], dim=1).flatten(1)


class Exact(nn.Module):
    """The flow: first pixel N(z, σ²), the others N(0, 1), or N(0, 0) for a flow that has collapsed."""

    def __init__(self, spread=1.0):
        super().__init__()
        self.spread = spread

    def forward(self, code, z):
        v = torch.cat([(code[:, :1] - z[:, :1]) / SIGMA, code[:, 1:]], dim=1)
        return v, torch.full((len(code),), -math.log(SIGMA))

    def sample(self, z, n, generator=None):
        v = torch.randn((len(z), n, 3, 1, 1), generator=generator)
        scale = torch.tensor([SIGMA, self.spread, self.spread]).reshape(3, 1, 1)
        mean = torch.cat([z[:, :1], torch.zeros(len(z), 2, 1, 1)], dim=1)
        return mean[:, None] + scale * v


@pytest.fixture
def images():
    return torch.randn(2000, 3, 1, 1, generator=torch.Generator().manual_seed(0))


def test_an_exact_flow_is_faithful(images):
    found = faithfulness(Exact(), FirstPixel(), Pixels(), images, n_samples=16)
    assert found["cosine"] == pytest.approx(1, abs=1e-6)
    assert found["cosine_autoencoder"] == pytest.approx(1, abs=1e-6)
    assert found["relative_l2"] == pytest.approx(0, abs=3 * SIGMA)
    assert found["class_agreement"] > 0.999
    assert found["diversity"] == pytest.approx(2 / 3, abs=0.03)  # two of three pixels are free
    # code = image has v₁ = 0 exactly: ½·(0 + 1 + 1) + log σ
    assert found["nll"] == pytest.approx(1 + math.log(SIGMA), abs=0.05)
    assert found["nll_gaussian"] == pytest.approx(1.5, abs=0.1)
    assert found["half_v_squared"] == pytest.approx(1 / 3, abs=0.02)


def test_references_are_those_of_their_definition(images):
    found = faithfulness(Exact(), FirstPixel(), Pixels(), images, n_samples=2)
    z = FirstPixel().encode(images).flatten(1)
    pairs = nn.functional.cosine_similarity(z[:, None], z[None], dim=2)
    off_diagonal = ~torch.eye(len(z), dtype=torch.bool)
    assert found["cosine_random"] == pytest.approx(pairs[off_diagonal].mean().item(), abs=0.03)
    nearest = pairs.masked_fill(~off_diagonal, -2).max(1).values.mean().item()
    assert found["cosine_nearest"] == pytest.approx(nearest, abs=1e-5)


def test_a_collapsed_flow_has_no_diversity(images):
    found = faithfulness(Exact(spread=0), FirstPixel(), Pixels(), images)
    assert found["diversity"] == pytest.approx(0, abs=1e-6)
    assert found["class_agreement"] > 0.999


def test_hue_that_the_network_cannot_see_is_drawn_anew():
    # a network that sees the sum of the pixels knows nothing of the hue; nor does a flow of independent colours
    colours = torch.rand(1000, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = faithfulness(Exact(), FirstPixel(), Pixels(), colours)
    assert found["hue_agreement"] > 0.1  # red is kept, and the hue with it in part
    assert "hue_agreement" not in faithfulness(Exact(), FirstPixel(), Pixels(), torch.zeros(4, 3, 1, 1) + 0.3)


def test_the_batch_size_of_the_samples_changes_only_the_draws(images):
    one, many = (
        faithfulness(Exact(), FirstPixel(), Pixels(), images, batch_size=size)["cosine_nearest"] for size in (7, 500)
    )
    assert one == pytest.approx(many, abs=1e-6)


def test_one_image_is_refused(images):
    with pytest.raises(ValueError, match="at least 2"):
        faithfulness(Exact(), FirstPixel(), Pixels(), images[:1])
