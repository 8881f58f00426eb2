import numpy as np
import pytest
import torch

from invariances.config.building import build_dataset
from invariances.config.checking import dataset_mistakes
from invariances.data import DigitsTest, Part
from invariances.data.base import ImageSet
from invariances.errors import InvalidInput


def images(n=40, channels=3):
    pixels = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, channels, 2, 2), dtype=np.uint8)
    return ImageSet(pixels, {"class": torch.arange(n) % 4}, seed=None)


def test_sides_of_a_split_are_disjoint_whole_and_of_all_classes():
    train, held_out = (Part(images(), side, fraction=0.2) for side in ("train", "validation"))
    assert sorted([*train.rows, *held_out.rows]) == list(range(40))
    assert held_out.labels["class"].bincount().tolist() == [2, 2, 2, 2]
    assert train[0]["class"] == train.labels["class"][0]


def test_another_seed_is_another_split():
    assert Part(images(), "train", seed=0).rows.tolist() != Part(images(), "train", seed=1).rows.tolist()


def test_a_batch_is_its_examples():
    part = Part(images(), "validation", fraction=0.3, channels=1)
    batch = part.__getitems__([0, 3])
    assert torch.equal(batch["image"][1], part[3]["image"])
    assert batch["image"].shape == (2, 1, 2, 2)


def test_fewer_images():
    assert len(Part(images(), n_images=7)) == 7
    assert len(Part(images(), n_images=700)) == 40


def test_data_sets_of_single_examples():
    plain = [{"image": torch.full((1, 2, 2), float(i))} for i in range(10)]
    part = Part(plain, "train", channels=3)
    assert part.__getitems__([0, 1])["image"].shape == (2, 3, 2, 2)
    assert part.files is None


@pytest.mark.parametrize("arguments", [{"fraction": 0.0}, {"fraction": 1.0}, {"n_images": 0}])
def test_numbers_out_of_range(arguments):
    with pytest.raises(InvalidInput):
        Part(images(), "train", **arguments)


def test_a_side_without_examples():
    with pytest.raises(InvalidInput, match="leave none"):
        Part(images(1), "validation")


def test_every_data_set_of_a_config_has_parts():
    spec = {"class": "invariances.data.DigitsTest", "part": {"n_images": 5, "channels": 3}}
    assert list(dataset_mistakes(spec, "train")) == []
    found = build_dataset({"datasets": {"train": spec}}, "train")
    assert (len(found), found[0]["image"].shape) == (5, (3, 32, 32))
    assert torch.equal(found[0]["image"][:1], DigitsTest()[int(found.rows[0])]["image"])


def test_a_mistake_in_a_part():
    spec = {"class": "invariances.data.DigitsTest", "part": {"split": "test"}}
    assert list(dataset_mistakes(spec, "train")) == [
        'datasets/train/part/split: "test" is text; expected one of train, validation or null'
    ]
