import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from invariances.data.base import ImageSet, dequantize, resize
from invariances.data.random_streams import RandomStreams


def ramp(n=6, channels=1, size=4):
    images = np.arange(n * channels * size * size, dtype=np.uint8).reshape(n, channels, size, size)
    return ImageSet(images, {"class": torch.arange(n)}, seed=0)


def test_dequantised_bytes_keep_their_value_and_gain_uniform_noise():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(500, axis=0)
    x = dequantize(pixels, RandomStreams(0, 0, np.arange(500)))
    units = (x.double() + 1) * 128
    assert torch.equal(units.floor(), torch.from_numpy(pixels).double())
    noise = units - units.floor()
    assert abs(noise.mean() - 0.5) < 4 * 12**-0.5 / 128_000**0.5
    assert abs(noise.var() - 1 / 12) < 0.001
    assert x.min() >= -1 and x.max() < 1


def test_one_example_is_the_same_alone_and_in_any_batch():
    data = ramp()
    batch = data.__getitems__([4, 1, 5])
    assert torch.equal(data[1]["image"], batch["image"][1]) and data[1]["class"] == 1
    assert batch["image"].shape == (3, 1, 4, 4) and batch["image"].dtype == torch.float32


def test_noise_differs_between_epochs_and_examples_and_seeds():
    data, again = ramp(), ImageSet(ramp().images, {}, seed=1)
    first = data[2]["image"]
    data.set_epoch(1)
    assert not torch.equal(first, data[2]["image"])
    assert not torch.equal(first, again[2]["image"])
    data.set_epoch(0)
    assert torch.equal(first, data[2]["image"])


def test_a_fixed_data_set_ignores_the_epoch():
    data = ImageSet(ramp().images, {}, seed=None)
    first = data[2]["image"]
    data.set_epoch(7)
    assert torch.equal(first, data[2]["image"]) and data.epoch == 0


def test_indices_count_from_the_end_and_end():
    data = ramp()
    assert torch.equal(data[-1]["image"], data[5]["image"])
    assert len(list(data)) == 6
    with pytest.raises(IndexError, match="index 6 is outside ImageSet of 6 examples"):
        data[6]
    with pytest.raises(IndexError, match="index -7"):
        data[-7]


def test_indices_may_be_numpy_or_torch_integers():
    assert ramp()[np.int64(3)]["class"] == ramp()[torch.tensor(3)]["class"] == 3


def test_labels_must_cover_the_examples():
    with pytest.raises(ValueError, match=r"label .class. has shape \(5,\) .* expected \(6,\)"):
        ImageSet(ramp().images, {"class": torch.arange(5)}, seed=0)


@pytest.mark.parametrize("values", [torch.full((6,), float("nan")), torch.ones(6, dtype=torch.int32)])
def test_labels_must_be_whole_numbers(values):
    with pytest.raises(
        ValueError, match=r"label 'class' has shape \(6,\) and torch.*expected \(6,\) and torch.int64"
    ):
        ImageSet(ramp().images, {"class": values}, seed=0)


def test_workers_that_outlive_an_epoch_see_the_next_epoch():
    data = ramp()
    loader = DataLoader(data, batch_size=6, collate_fn=dict, num_workers=1, persistent_workers=True)
    seen = []
    for epoch in range(2):
        data.set_epoch(epoch)
        seen.append(next(iter(loader))["image"])
        assert torch.equal(seen[-1], data.__getitems__(range(6))["image"])
    assert not torch.equal(*seen)


def test_resize_keeps_size_and_mean():
    images = ramp().images
    assert resize(images, 4) is images
    large = resize(images, 8, chunk=4)
    assert large.shape == (6, 1, 8, 8) and large.dtype == np.uint8
    assert np.abs(large.mean((1, 2, 3)) - images.mean((1, 2, 3))).max() < 1


def test_resize_filters_when_it_shrinks():
    stripes = np.zeros((1, 1, 96, 96), dtype=np.uint8)
    stripes[..., ::3] = 255
    small = resize(stripes, 24)[..., 2:-2]
    assert abs(small.mean() / 255 - 1 / 3) < 0.01 and small.std() / 255 < 0.03


def test_blocks_do_not_change_the_noise():
    pixels = np.random.RandomState(0).randint(0, 256, (40, 3, 64, 64), dtype=np.uint8)
    streams = RandomStreams(0, 0, np.arange(40))
    whole = dequantize(pixels, streams)
    assert torch.equal(whole[33:36], dequantize(pixels[33:36], streams[33:36]))
    assert dequantize(pixels[:0], streams[:0]).shape == (0, 3, 64, 64)
