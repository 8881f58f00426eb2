from unittest.mock import patch

import pytest
import torch
from torch import nn

from invariances.evaluation import Response
from invariances.flows import FactorTransformer
from invariances.iterators import DIINIterator
from invariances.models import Autoencoder, Classifier
from tests.evaluation.factor_world import Sign, iterator, loader


def test_the_predicted_class_follows_the_factor_that_it_depends_on(tmp_path):
    numbers = Response(Sign(), n_images=5, n_draws=2000)(iterator(), loader(), tmp_path)
    expected = {  # classes 0 and 1 are equally likely: their numbers have a standard deviation of ½
        "response_first_sigma": 0.5,
        "response_first_changed": 0.5,
        "response_residual_sigma": 0,
        "response_residual_changed": 0,
    }
    assert {name: numbers[name] for name in expected} == pytest.approx(expected, abs=0.02)
    assert numbers.keys() - expected == {f"{name}_ci" for name in expected}
    assert (tmp_path / "response.png").exists()


class Threshold(nn.Module):
    """Class 1 where the sum of the channels is positive."""

    def forward(self, x):
        total = x.sum(dim=(1, 2, 3))
        return torch.stack([-total, total], dim=1)


def test_the_intervals_over_images_cover(tmp_path):
    """Images differ in how the residual changes the class; 100 sets of 20 images."""
    found = []
    for seed in range(100):
        batch = torch.randn(20, 3, 1, 1, generator=torch.Generator().manual_seed(seed)) / 2
        measure = Response(Threshold(), n_images=20, n_draws=50, seed=seed)
        with patch("invariances.evaluation.metrics.response._histograms"):
            found.append(measure(iterator(), [{"image": batch}], tmp_path))
    for name in ("response_first_changed", "response_residual_changed", "response_first_sigma"):
        values, widths = (torch.tensor([numbers[each] for numbers in found]) for each in (name, f"{name}_ci"))
        assert 0.89 <= ((values - values.mean()).abs() <= widths).float().mean() <= 0.99, name


def test_one_image_has_no_interval(tmp_path):
    numbers = Response(Sign(), n_images=1, n_draws=20)(iterator(), loader(), tmp_path)
    assert not any(name.endswith("_ci") for name in numbers)


def test_a_first_stage_may_be_the_classifier_itself(tmp_path):
    classifier = Classifier(3, 8, 1, 6, n_classes=4, norm="bn", width=2)
    flow = FactorTransformer(6, 1, 0, 4, 2, [2, 4])
    diin = DIINIterator(flow, classifier, learning_rate=1e-3)
    images = torch.rand(8, 3, 8, 8) * 2 - 1
    flow(diin.codes(images))  # sets ActNorm's start
    diin.eval()
    with torch.inference_mode():  # as Lightning evaluates
        numbers = Response(n_images=2, n_draws=50)(diin, [{"image": images}], tmp_path)
    names = {f"response_{k}_{what}" for k in ("0", "residual") for what in ("sigma", "changed")}
    assert set(numbers) == names | {f"{name}_ci" for name in names}

    # by hand: factor 0 of the first image resampled, everything else kept
    factors = diin.to_factors(diin.code(images[:1]))
    draws = torch.randn(50, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    codes = diin.to_code([draws, factors[1].expand(50, -1, -1, -1)])
    by_hand = classifier.classifier(codes.flatten(1)).argmax(1)
    one = Response(n_images=1, n_draws=50)(diin, [{"image": images}], tmp_path)
    assert one["response_0_sigma"] == pytest.approx(by_hand.float().std(correction=0).item(), abs=1e-6)


def test_an_autoencoder_is_no_classifier(tmp_path):
    autoencoder = Autoencoder(in_channels=3, in_size=8, n_down=1, z_dim=6, norm="bn", width=2)
    diin = DIINIterator(FactorTransformer(6, 1, 0, 4, 2, [2, 4]), autoencoder, learning_rate=1e-3).eval()
    batches = [{"image": torch.zeros(2, 3, 8, 8)}]
    expected = "response/classifier is not given, and the first stage, Autoencoder, is no classifier .*give one"
    with pytest.raises(ValueError, match=expected):
        Response()(diin, batches, tmp_path)
    classifier = Classifier(3, 8, 1, 6, n_classes=4, norm="bn", width=2)
    diin = DIINIterator(FactorTransformer(6, 1, 0, 4, 2, [2, 4]), classifier, learning_rate=1e-3).eval()
    with pytest.raises(ValueError, match=r"response/layer encodr .*does not exist"):
        Response(layer="encodr")(diin, batches, tmp_path)
