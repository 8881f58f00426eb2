import torch

from invariances.data import ColorfulDigitsPairsTest
from invariances.data.unpairing import unpaired


def test_both_examples_of_a_pair_count():
    pairs = ColorfulDigitsPairsTest().__getitems__([3, 5, 8])
    images = unpaired(pairs)
    assert torch.equal(images["image"], torch.cat([pairs["example1"], pairs["example2"]]))
    assert torch.equal(images["class"], torch.cat([pairs["class1"], pairs["class2"]]))
    assert set(images) == {"image", "class"}


def test_pairs_without_classes_and_images_alone():
    pairs = {"example1": torch.zeros(2, 3, 4, 4), "example2": torch.ones(2, 3, 4, 4), "factor": torch.tensor([0, 1])}
    assert unpaired(pairs)["image"].shape == (4, 3, 4, 4) and "class" not in unpaired(pairs)
    images = {"image": torch.zeros(1, 1, 4, 4)}
    assert unpaired(images) is images
