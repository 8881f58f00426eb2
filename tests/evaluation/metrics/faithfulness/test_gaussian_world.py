"""The numbers of a world where the right values are known, and of samplers with known faults."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from invariances.data.base import BatchedDataset
from invariances.data.loader import Loader
from invariances.evaluation import Faithfulness, faithfulness
from invariances.evaluation.metrics.faithfulness.likelihood import gaussian_nll
from scripts.check_coverage import coverage, true_values
from tests.evaluation.metrics.faithfulness.gaussian_world import NOISE, SAMPLERS, World


def measured(world, n=1000, classes=None, seed=0, **sampler):
    return faithfulness(*world.networks(**sampler), world.images(n, seed), n_samples=4, classes=classes)


def test_a_flow_that_ignores_z_learns_nothing_from_it():
    world = World(correlated=True)
    ignores = measured(world, 2000, **SAMPLERS["ignores z"])
    exact = measured(world, 2000)
    assert ignores["nll_gaussian"] - ignores["nll"] == pytest.approx(0, abs=2)
    # the code's mutual information with z, in nats
    covariance = world.covariance + NOISE**2 * torch.eye(world.n)
    rest = world.networks()[0].root.double()
    expected = covariance.logdet() / 2 - rest.diagonal().log().sum()
    assert exact["nll_gaussian"] - exact["nll"] == pytest.approx(expected.item(), abs=2)
    assert expected > 10


def test_a_gaussian_is_measured_on_other_images_than_those_it_is_fitted_to():
    world = World(correlated=True)
    covariance = world.covariance + NOISE**2 * torch.eye(world.n)
    expected = (world.n + covariance.logdet().item()) / 2
    scale = torch.logspace(-2, 2, world.n)
    for n, tolerance in ((200, 12), (2000, 2)):
        runs = []
        for seed in range(5):
            noise = NOISE * torch.randn(n, world.n, generator=torch.Generator().manual_seed(seed + 100))
            codes = (world.images(n, seed).flatten(1) + noise) * scale
            runs.append(gaussian_nll(codes[..., None, None]).mean().item())
        assert expected - 0.5 < sum(runs) / 5 - scale.log().sum().item() < expected + tolerance


def test_few_codes_or_codes_that_do_not_vary_have_no_gaussian():
    assert gaussian_nll(torch.randn(9, 4, 1, 1)).isnan().all()
    assert gaussian_nll(torch.cat([torch.randn(50, 3, 1, 1), torch.ones(50, 1, 1, 1)], dim=1)).isnan().all()


class Sorted(BatchedDataset):
    """50 classes of 40 images, each around a mean of its own, class by class or mixed."""

    def __init__(self, mixed):
        classes = torch.arange(2000) // 40
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(2000, generator=generator)
        centres = torch.randn(50, 64, generator=generator)
        images = (0.7 * torch.randn(2000, 64, generator=generator) + centres[classes]).reshape(2000, 1, 8, 8)
        self.images, classes = (images[order], classes[order]) if mixed else (images, classes)
        super().__init__(2000, {"class": classes}, seed=None)

    def make(self, index, streams):
        return {"image": self.images[index], **self.labels_at(index)}


def test_sorted_classes_give_the_numbers_of_mixed_ones():
    world = World(n_classes=50)
    cinn, greybox, autoencoder = world.networks()
    task = SimpleNamespace(
        device=torch.device("cpu"),
        model=cinn,
        greybox=SimpleNamespace(network=greybox),
        autoencoder=SimpleNamespace(network=autoencoder),
        baseline=None,
    )
    one, other = (
        Faithfulness(n_images=400, n_samples=2)(task, Loader(Sorted(mixed), 100), Path()) for mixed in (True, False)
    )
    for name in ("diversity", "class_agreement_random", "cosine_random", "pairwise_distance", "network_accuracy"):
        assert one[name] == pytest.approx(other[name], abs=1.5 * (one[f"{name}_ci"] + other[f"{name}_ci"]) / 2**0.5)
    # of the first 400, ten classes, a random pair has the same one more often, and the images vary less
    assert other["predicted_classes"] > 25


def test_accuracy_of_the_network():
    world = World()
    images = world.images(500)
    classes = world.networks()[1].decode(world.networks()[1].encode(images)).argmax(dim=1)
    wrong = torch.arange(500) % 10 < 3
    found = measured(world, 500, classes=torch.where(wrong, (classes + 1) % 10, classes))
    assert found["network_accuracy"] == pytest.approx(0.7)
    assert found["network_accuracy_ci"] == pytest.approx(1.96 * (0.7 * 0.3 / 500) ** 0.5, rel=0.03)
    assert found["predicted_classes"] == len(classes.unique())
    assert "network_accuracy" not in measured(world, 100)
    assert "network_accuracy" not in measured(world, 100, classes=torch.arange(100))  # labels of other classes
    assert "network_accuracy" not in measured(world, 100, classes=torch.arange(100) % 3)  # so are those of few


def test_a_network_with_a_single_answer_is_reported(caplog):
    world = World()
    world.weight = torch.zeros_like(world.weight)
    with caplog.at_level(logging.WARNING):
        found = measured(world, 100)
    assert "predicts class 0 for all 100 images" in caplog.text
    assert found["predicted_classes"] == found["class_agreement"] == found["class_agreement_random"] == 1
    caplog.clear()
    assert measured(World(), 100)["predicted_classes"] > 5
    assert not caplog.text


def test_a_layer_that_is_constant_retrieves_nothing():
    class Constant(nn.Module):
        def encode(self, x):
            return torch.full((len(x), 16, 1, 1), 0.1)

        def decode(self, z):
            return z.flatten(1)

    world = World()
    cinn, _, autoencoder = world.networks(share=0)
    found = faithfulness(cinn, Constant(), autoencoder, world.images(99), n_samples=2)
    for suffix in ("", "_autoencoder", "_random", "_nearest"):
        assert found[f"retrieval_rank{suffix}"] == 50
        assert found[f"retrieval_mrr{suffix}"] == pytest.approx(sum(1 / i for i in range(1, 100)) / 99)
        assert found[f"cosine{suffix}"] == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sampler", ["exact", "half of z"])
def test_intervals_cover(sampler):
    shares = coverage(World(), sampler, 100, n_sets=200)
    assert min(shares.values()) >= 0.92 - 0.048  # 2.5 standard errors of a share of 200 sets


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sampler", ["exact", "ignores z"])
def test_intervals_of_hues_cover(sampler):
    world = World((3, 4, 4), n_known=12, scale=0.5)
    shares = coverage(world, sampler, 100, n_sets=200, truth=true_values(world, sampler))
    assert shares["hue_agreement"] > 0.87 and shares["hue_distance"] > 0.87
