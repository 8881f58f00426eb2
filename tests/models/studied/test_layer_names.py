"""Layers by dotted name, by their names in the papers, and by the numbers of the papers' software."""

import pytest
import torch
import torchvision
from torch import nn

from invariances.models.studied.layer_names import layer_name


@pytest.fixture(scope="module")
def networks():
    with torch.device("meta"):
        return {"alexnet": torchvision.models.alexnet(), "resnet": torchvision.models.resnet18()}


def found(network, layer=None, split_idx=None):
    known = {"input", "softmax", *(name for name, _ in network.named_modules() if name)}
    return layer_name(network, known, layer, split_idx)


def test_alexnet(networks):
    expected = ["features.11", "classifier.2", "classifier.5", "classifier.6", "softmax"]
    alexnet = networks["alexnet"]
    assert [found(alexnet, name) for name in ("conv5", "fc6", "fc7", "fc8", "softmax")] == expected
    assert [found(alexnet, split_idx=number) for number in (12, 18, 21, 22, 23)] == expected


def test_resnet(networks):
    expected = ["input", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc", "softmax"]
    resnet = networks["resnet"]
    assert [found(resnet, name) for name in expected] == expected
    assert [found(resnet, split_idx=number) for number in (0, 4, 5, 6, 7, 8, 9, 11, 12)] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give one of them"),
        ({"layer": "fc6", "split_idx": 18}, "give one of them"),
        ({"split_idx": 24}, "split_idx is 24; expected 0 to 23 for AlexNet"),
        ({"layer": "fc9"}, "layer 'fc9' does not exist; nearest: fc"),
    ],
)
def test_mistakes_are_named(networks, arguments, message):
    with pytest.raises(ValueError, match=message):
        found(networks["alexnet"], **arguments)


def test_numbers_are_for_the_published_networks():
    with pytest.raises(ValueError, match="known for AlexNet, ResNet, not for Flatten"):
        found(nn.Flatten(), split_idx=1)


def test_names_of_wrapped_networks(networks):
    assert found(networks["resnet"], "module.layer1") == found(networks["resnet"], "_orig_mod.layer1") == "layer1"
