import colorsys

import numpy as np
import pytest
import torch

from invariances.data.colors import ColorfulImages, ColorfulPairs, HueImages, hue_to_rgb

CLASSES = torch.arange(40) % 4


def images():
    """Image i is grey level 5 i + 50 everywhere, so that a pixel tells which image it is."""
    return (np.arange(40) * 5 + 50).astype(np.uint8).repeat(16).reshape(40, 1, 4, 4)


def pairs(seed=0):
    return ColorfulPairs(images(), {"class": CLASSES}, seed)


def test_hues_equal_the_standard_library():
    hue = np.linspace(0, 2 * np.pi, 50)
    expected = [colorsys.hsv_to_rgb(h / (2 * np.pi), 1, 1) for h in hue]
    assert np.abs(hue_to_rgb(hue) - expected).max() < 1e-12


def test_hue_images_have_the_hue_they_state_on_black():
    grey = np.zeros((200, 1, 4, 4), dtype=np.uint8)
    grey[..., 1:3, 1:3] = 255
    data = HueImages(grey, {"class": torch.zeros(200, dtype=torch.int64)}, seed=0)
    batch = data.__getitems__(range(200))
    image = batch["image"]
    assert (image[:, :, 0] < -1 + 1 / 128).all() and image.min() >= -1 and image.max() < 1
    rgb = ((image[:, :, 1, 1] + 1) / 2).double().numpy()
    assert np.abs(rgb - hue_to_rgb(batch["hue"].double().numpy())).max() < 1 / 255 + 1e-6
    assert batch["hue"].dtype == torch.float32
    assert np.abs(np.histogram(batch["hue"], bins=4, range=(0, 2 * np.pi))[0] - 50).max() < 25


def test_hue_is_another_in_each_epoch_unless_fixed():
    grey = images()
    for seed, changes in ((0, True), (None, False)):
        data = HueImages(grey, {"class": CLASSES}, seed)
        before = data.__getitems__(range(40))
        data.set_epoch(1)
        assert torch.equal(before["hue"], data.__getitems__(range(40))["hue"]) != changes


def test_colorful_images_are_the_grey_image_times_three_factors():
    black = np.zeros((100, 1, 4, 4), dtype=np.uint8)
    data = ColorfulImages(black, {"class": torch.zeros(100, dtype=torch.int64)}, seed=0)
    image = data.__getitems__(range(100))["image"]
    assert image.shape == (100, 3, 4, 4) and image.dtype == torch.float32
    color = -image.mean((2, 3))  # black is −1, so the factor appears with a minus
    assert color.min() >= 0 and color.max() < 1
    assert (image.std((2, 3)) < 1 / 128).all()
    assert abs(color.mean() - 0.5) < 0.07 and color.max() > 0.95 and color.min() < 0.05


def test_factor_0_shares_the_class_and_factor_1_the_color():
    data = pairs()
    batch = data.__getitems__(list(range(40)) * 5)
    factor = batch["factor"]
    assert factor.dtype == torch.int64 and set(factor.tolist()) == {0, 1}
    same_class = batch["class1"] == batch["class2"]
    assert torch.equal(same_class, factor == 0)
    assert torch.equal(batch["class1"], CLASSES.repeat(5))


def test_colors_are_shared_only_in_factor_1():
    black = np.zeros((40, 1, 4, 4), dtype=np.uint8)
    batch = ColorfulPairs(black, {"class": CLASSES}, 0).__getitems__(range(40))
    difference = (batch["example1"].mean((2, 3)) - batch["example2"].mean((2, 3))).abs().amax(1)
    shared = batch["factor"] == 1
    assert (difference[shared] < 1 / 128).all() and (difference[~shared] > 1 / 128).all()


def test_the_second_example_of_factor_0_is_another_image():
    """In the ratio of two channels the colour stays and the grey level goes; equal levels, equal pixels."""
    white = np.full((40, 1, 4, 4), 255, dtype=np.uint8)
    white[:, :, 0] = images()[:, :, 0]
    batch = ColorfulPairs(white, {"class": CLASSES}, 0).__getitems__(range(40))
    level = [batch[name][:, 0, 0].mean(1) / batch[name][:, 0, 1].mean(1) for name in ("example1", "example2")]
    assert ((level[0] - level[1]).abs() > 0.02).all()


def test_pairs_are_the_same_in_any_batch_and_other_in_another_epoch():
    data = pairs()
    whole = data.__getitems__(range(40))
    assert all(torch.equal(value, whole[key][17]) for key, value in data[17].items())
    data.set_epoch(3)
    assert not torch.equal(whole["factor"], data.__getitems__(range(40))["factor"])


def test_fixed_pairs_never_change():
    data = pairs(seed=None)
    before = data.__getitems__(range(40))
    data.set_epoch(3)
    after = pairs(seed=None).__getitems__(range(40))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_pairs_of_one_class_are_refused_at_once():
    with pytest.raises(ValueError, match="all 40 examples have class 0"):
        ColorfulPairs(images(), {"class": torch.zeros(40, dtype=torch.int64)}, 0)
    with pytest.raises(ValueError, match="at least one example"):
        ColorfulPairs(images()[:0], {"class": CLASSES[:0]}, 0)


def test_a_class_of_one_image_pairs_it_with_itself():
    data = ColorfulPairs(images()[:3], {"class": torch.tensor([0, 0, 1])}, 0)
    batch = data.__getitems__([2] * 3)
    for epoch in range(10):
        data.set_epoch(epoch)
        batch = data[2]
        assert (batch["class2"] == 1) == (batch["factor"] == 0)


def test_pairs_of_one_colour_may_be_of_any_class():
    data = ColorfulPairs(images(), {"class": CLASSES}, 0, other_class=False)
    batch = data.__getitems__(list(range(40)) * 100)
    same = (batch["class1"] == batch["class2"]).float()
    shared = CLASSES.bincount().square().sum() / 40**2  # of all pairs of images, the first image with itself included
    n = (batch["factor"] == 1).sum()
    assert (same[batch["factor"] == 0] == 1).all()
    assert (same[batch["factor"] == 1].mean() - shared).abs() < 4 * (shared * (1 - shared) / n).sqrt()
    one_class = ColorfulPairs(images(), {"class": torch.zeros(40, dtype=torch.int64)}, 0, other_class=False)
    assert one_class[0]["class2"] == 0
