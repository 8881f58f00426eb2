import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from invariances.data import (
    ColorfulDigitsPairsTest,
    ColorfulDigitsPairsTrain,
    ColorfulDigitsTest,
    ColorfulDigitsTrain,
    DigitsTest,
    DigitsTrain,
)


def test_split_is_whole_disjoint_and_stratified():
    train, test = DigitsTrain(), DigitsTest()
    assert (len(train), len(test)) == (1500, 297)
    together = torch.cat([train.labels["class"], test.labels["class"]]).bincount()
    assert together.tolist() == np.bincount(load_digits().target).tolist()
    share = test.labels["class"].bincount() / together
    assert (share - 297 / 1797).abs().max() < 0.005
    images = np.concatenate([train.images, test.images]).reshape(1797, -1)
    assert len(np.unique(images, axis=0)) == 1797


def test_images_are_the_source_enlarged():
    data = DigitsTest(size=32)
    assert data.images.shape == (297, 1, 32, 32) and data.images.min() == 0 and data.images.max() == 255
    small = torch.nn.functional.avg_pool2d(torch.from_numpy(data.images).float(), 4).reshape(297, 64) / 255
    source, target = load_digits(return_X_y=True)
    distance = torch.cdist(small, torch.from_numpy(source).float() / 16)
    assert torch.equal(torch.from_numpy(target)[distance.argmin(1)].long(), data.labels["class"])
    nearest, second = distance.topk(2, dim=1, largest=False).values.T
    assert (nearest / second).mean() < 0.5


def test_an_example():
    example = DigitsTrain()[0]
    assert set(example) == {"image", "class"}
    assert example["image"].shape == (1, 32, 32) and example["image"].dtype == torch.float32
    assert example["image"].min() >= -1 and example["image"].max() < 1
    assert example["class"].dtype == torch.int64 and example["class"].shape == ()


def test_size():
    assert DigitsTest(size=28)[0]["image"].shape == (1, 28, 28)


@pytest.mark.parametrize("size", [0, -1])
@pytest.mark.parametrize("kind", [DigitsTrain, ColorfulDigitsTrain, ColorfulDigitsPairsTrain])
def test_sizes_below_a_pixel_are_refused(kind, size):
    with pytest.raises(ValueError, match=f"size is {size}; expected 1 or more"):
        kind(size=size)


def test_a_colorful_example():
    example = ColorfulDigitsTrain()[0]
    assert set(example) == {"image", "class", "hue"}
    assert example["image"].shape == (3, 32, 32) and example["hue"].dtype == torch.float32


def test_colorful_digits_lie_on_black():
    data = ColorfulDigitsTest()
    image = data.__getitems__(range(297))["image"]
    background = np.broadcast_to(data.images == 0, image.shape)
    assert (image[torch.from_numpy(background.copy())] < -1 + 1 / 128).all()


@pytest.mark.parametrize("kind", [DigitsTest, ColorfulDigitsTest, ColorfulDigitsPairsTest])
def test_test_sets_never_change(kind):
    first, second = kind(), kind()
    second.set_epoch(5)
    a, b = first.__getitems__(range(50)), second.__getitems__(range(50))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("kind", [DigitsTrain, ColorfulDigitsTrain, ColorfulDigitsPairsTrain])
def test_training_sets_follow_seed_and_epoch(kind):
    key = "example1" if kind is ColorfulDigitsPairsTrain else "image"
    data = kind(seed=3)
    data.set_epoch(2)
    twin, stranger = kind(seed=3), kind(seed=4)
    for other in (twin, stranger):
        other.set_epoch(2)
    assert torch.equal(data[9][key], twin[9][key]) and not torch.equal(data[9][key], stranger[9][key])
    twin.set_epoch(3)
    assert not torch.equal(data[9][key], twin[9][key])


@pytest.mark.parametrize("n_workers", [0, 1])
def test_pytorchs_own_loader_takes_them(n_workers):
    data = ColorfulDigitsPairsTrain()
    batch = next(iter(DataLoader(data, batch_size=25, collate_fn=dict, num_workers=n_workers)))
    assert batch["example1"].shape == (25, 3, 32, 32) and batch["factor"].shape == (25,)
    assert torch.equal(batch["example2"], data.__getitems__(range(25))["example2"])
