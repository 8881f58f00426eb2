"""A world whose answer is known: images of N pixels, each an attribute; a network that keeps the first k of them."""

import pytest
import torch
from torch import nn

from invariances.errors import InvalidInput
from invariances.evaluation import attributes
from invariances.models import DiagonalGaussian

N, K = 6, 2


class Pixels(nn.Module):
    def encode(self, x):
        return DiagonalGaussian(x, torch.zeros_like(x), deterministic=True)

    def decode(self, code):
        return code


class FirstPixels(nn.Module):
    def encode(self, x):
        return x[:, :K]

    def decode(self, z):
        return torch.cat([z[:, :1], -z[:, :1]], dim=1).flatten(1)


class Flow(nn.Module):
    """Exact for spread 1 and independent pixels; over-confident below."""

    def __init__(self, spread=1.0):
        super().__init__()
        self.spread = spread

    def sample(self, z, n, generator):
        others = self.spread * torch.randn((len(z), n, N - K, 1, 1), generator=generator)
        return torch.cat([z[:, None].expand(-1, n, -1, -1, -1), others], dim=2)


def pixel(i):
    return lambda images: images[:, i, 0, 0]


PIXELS = {f"pixel{i}": pixel(i) for i in range(N)}


@pytest.fixture
def images():
    return torch.randn(2000, N, 1, 1, generator=torch.Generator().manual_seed(0))


def test_a_linear_network_keeps_the_first_attributes_and_drops_the_others(images):
    found = attributes(Flow(), FirstPixels(), Pixels(), images, PIXELS, n_samples=8)
    for i in range(N):
        kept = 1.0 if i < K else 0.0
        assert found[f"attribute_pixel{i}"] == pytest.approx(kept, abs=0.03)
        assert found[f"attribute_pixel{i}_measured"] == pytest.approx(kept, abs=0.05)
        assert found[f"attribute_pixel{i}_probe"] == pytest.approx(kept, abs=0.03)
        assert found[f"attribute_pixel{i}_autoencoder"] == 1
        assert found[f"attribute_pixel{i}_shuffled"] == pytest.approx(0, abs=0.06)


def test_an_attribute_that_is_kept_in_part(images):
    mixed = {"mixed": lambda x: x[:, 0, 0, 0] + 2 * x[:, K, 0, 0]}  # variance 1 is kept, 4 is dropped
    found = attributes(Flow(), FirstPixels(), Pixels(), images, mixed)
    for end in ("", "_measured", "_probe"):
        assert found[f"attribute_mixed{end}"] == pytest.approx(0.2, abs=0.05)


def test_a_flow_that_is_too_sure_is_found_out_by_the_measured_number(images):
    found = attributes(Flow(spread=0.2), FirstPixels(), Pixels(), images, PIXELS)
    assert found["attribute_pixel4"] == pytest.approx(0.96, abs=0.01)  # 1 − 0.2²
    assert found["attribute_pixel4_measured"] == pytest.approx(0, abs=0.05)


def test_an_angle_is_dropped_wherever_the_circle_is_cut(images):
    angle = {"angle": lambda x: torch.polar(torch.ones(len(x)), 3 + 0.3 * x[:, K, 0, 0])}  # both sides of the cut at π
    found = attributes(Flow(), FirstPixels(), Pixels(), images, angle)
    assert found["attribute_angle"] == pytest.approx(0, abs=0.06)


def test_labels_are_read_from_codes(images):
    labels = {"kept": (images[:, 0, 0, 0] > 0).long(), "dropped": images[:, K, 0, 0]}
    found = attributes(Flow(), FirstPixels(), Pixels(), images, {}, labels)
    for end in ("", "_measured"):
        assert found[f"attribute_kept{end}"] == pytest.approx(found["attribute_kept_autoencoder"], abs=0.01)
    assert found["attribute_dropped"] == pytest.approx(0, abs=0.06)
    assert found["attribute_dropped_autoencoder"] == pytest.approx(1, abs=0.01)
    assert found["attribute_kept_autoencoder"] > 0.8


class KeepsTheClassOfHalf(nn.Module):
    """Loses the first pixel, whose sign is the class, of images whose second pixel is negative."""

    def encode(self, x):
        return DiagonalGaussian(lost(x, dim=1), torch.zeros_like(x), deterministic=True)

    def decode(self, code):
        return code


class FlowOnHalf(Flow):
    def sample(self, z, n, generator):
        return lost(super().sample(z, n, generator), dim=2)


def lost(x, dim):
    first, second, others = x.split([1, 1, N - 2], dim=dim)
    return torch.cat([first * (second > 0), second, others], dim=dim)


@pytest.mark.parametrize(
    ("autoencoder", "flow", "ceiling"), [(Pixels(), Flow(), 1.0), (KeepsTheClassOfHalf(), FlowOnHalf(), 0.5)]
)
def test_a_layer_that_keeps_the_class_reaches_the_ceiling_and_not_more(images, autoencoder, flow, ceiling):
    images[:, 0] = images[:, 0].sign()
    found = attributes(flow, FirstPixels(), autoencoder, images, PIXELS, {"class": (images[:, 0, 0, 0] > 0).long()})
    for name in ("class", "pixel0"):
        assert found[f"attribute_{name}_autoencoder"] == pytest.approx(ceiling, abs=0.05)
        assert found[f"attribute_{name}_measured"] == pytest.approx(found[f"attribute_{name}_autoencoder"], abs=0.01)
        assert found[f"attribute_{name}_probe"] == pytest.approx(1, abs=0.03)
    assert found["attribute_class"] == pytest.approx(ceiling, abs=0.05)
    assert found["attribute_class_shuffled"] == pytest.approx(0, abs=0.06)


def test_a_layer_without_the_class_shows_none_of_it(images):
    images[:, K] = images[:, K].sign()
    labels = {"class": (images[:, K, 0, 0] > 0).long()}
    found = attributes(SignFlow(), FirstPixels(), Pixels(), images, {}, labels)
    assert found["attribute_class_autoencoder"] == pytest.approx(1, abs=0.05)
    assert found["attribute_class_measured"] == pytest.approx(0, abs=0.05)
    assert found["attribute_class"] == pytest.approx(0, abs=0.06)


class SignFlow(Flow):
    def sample(self, z, n, generator):
        codes = super().sample(z, n, generator)
        codes[:, :, K] = codes[:, :, K].sign()
        return codes


def test_the_interval_covers():
    inside = []
    for seed in range(60):
        images = torch.randn(200, N, 1, 1, generator=torch.Generator().manual_seed(seed))
        mixed = {"mixed": lambda x: x[:, 0, 0, 0] + x[:, K, 0, 0]}
        found = attributes(Flow(), FirstPixels(), Pixels(), images, mixed, seed=seed)
        inside.append(abs(found["attribute_mixed"] - 0.5) <= found["attribute_mixed_ci"])
    assert 0.85 <= sum(inside) / 60 <= 1


def test_attributes_that_few_images_have_or_that_do_not_vary_are_left_out(images):
    rare = {"rare": lambda x: torch.where(x[:, 0, 0, 0] > 1, x[:, 1, 0, 0], torch.nan)}
    constant = {"constant": lambda x: torch.ones(len(x))}
    assert attributes(Flow(), FirstPixels(), Pixels(), images, {**rare, **constant}) == {}


def test_one_image_is_too_few(images):
    with pytest.raises(InvalidInput, match="expected at least 2"):
        attributes(Flow(), FirstPixels(), Pixels(), images[:1], PIXELS)
