"""Coloured digits, whose answer is known: the first convolution keeps the hue, and the logits drop it.

The models are those that come with the package for the demo.
"""

import pytest
import torch

from invariances.data import ColorfulDigitsTest
from invariances.demo.sources import EMBEDDED
from invariances.evaluation import attributes
from invariances.evaluation.metrics.attributes import STATISTICS
from invariances.models import Greybox
from invariances.zoo import zoo


def stroke_width(images):
    """Twice the area of the ink over the length of its edge, (B,), in pixels."""
    ink = (images.amax(1) + 1) / 2
    edge = ink.diff(dim=1).abs().sum((1, 2)) + ink.diff(dim=2).abs().sum((1, 2))
    return 2 * ink.sum((1, 2)) / edge


def test_the_width_of_a_stroke():
    images = -torch.ones(1, 3, 64, 64)
    images[:, 0, 2:62, 30:34] = 1  # 60 × 4 pixels: 2 · 240 / 128
    assert stroke_width(images).item() == pytest.approx(3.75)


@pytest.fixture(scope="module")
def kept():
    """(layer, attribute) -> which part of its variance the layer keeps, claimed and measured."""
    images = ColorfulDigitsTest().__getitems__(range(200))["image"]
    chosen = {"hue": STATISTICS["hue"], "position": STATISTICS["position_x"], "stroke": stroke_width}
    classifier, autoencoder = (zoo.load(str(EMBEDDED / name)) for name in ("digits_clf", "digits_ae"))
    found = {}
    for layer in ("conv1", "logits"):
        cinn, box = zoo.load(str(EMBEDDED / f"digits_cinn_{layer}")), Greybox(classifier, layer)
        numbers = attributes(cinn, box, autoencoder, images, chosen, n_samples=4)
        for name in chosen:
            found[layer, name] = [numbers[f"attribute_{name}"], numbers[f"attribute_{name}_measured"]]
    return found


def test_hue_is_kept_by_the_first_convolution_and_dropped_by_the_logits(kept):
    assert min(kept["conv1", "hue"]) >= 0.9
    assert max(kept["logits", "hue"]) <= 0.1


@pytest.mark.parametrize("name", ["position", "stroke"])
def test_position_and_stroke_width_fall_in_between(kept, name):
    assert max(kept["logits", "hue"]) < min(kept["logits", name])
    assert max(kept["logits", name]) < min(kept["conv1", name]) < min(kept["conv1", "hue"])
    assert min(kept["logits", name]) > 0.1 and max(kept["logits", name]) < 0.9
