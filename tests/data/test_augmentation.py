import numpy as np
import torch

from invariances.data import AnimalFacesRestrictedTest, Folder
from invariances.data.augmentation import random_crop, random_flip
from invariances.data.random_streams import RandomStreams
from tests.data.stand_ins import write_picture

N = 400


def streams(epoch=0):
    return RandomStreams(seed=1, epoch=epoch, index=np.arange(N))


def test_crops_are_windows_of_the_image_and_all_windows_occur_equally_often():
    image = np.arange(2 * 5 * 6, dtype=np.uint8).reshape(1, 2, 5, 6)
    crops = random_crop(image.repeat(N, axis=0), 2, streams())
    assert crops.shape == (N, 2, 3, 4)
    counts = np.zeros((3, 3))
    for crop in crops:
        top, left = divmod(int(crop[0, 0, 0]), 6)
        np.testing.assert_array_equal(crop, image[0, :, top : top + 3, left : left + 4])
        counts[top, left] += 1
    assert np.abs(counts - N / 9).max() < 4 * np.sqrt(N / 9)


def test_half_of_the_images_are_mirrored():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    flipped = random_flip(image.repeat(N, axis=0), streams())
    mirrored = (flipped == image[..., ::-1]).all((1, 2, 3))
    assert (mirrored | (flipped == image).all((1, 2, 3))).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(N)


def folder(tmp_path, **arguments):
    for i in range(12):
        write_picture(tmp_path / "in" / f"{i}.png", (9 * i, 99, 200))
    return Folder(str(tmp_path / "in"), size=16, root=str(tmp_path), **arguments)


def test_an_image_is_cut_out_of_a_larger_square(tmp_path):
    assert folder(tmp_path, margin=5).images.shape[-1] == 21
    assert folder(tmp_path, margin=5)[0]["image"].shape == (3, 16, 16)


def test_each_epoch_has_crops_and_mirror_images_of_its_own_and_each_example_the_same_alone(tmp_path):
    data = folder(tmp_path, margin=4, flip=True)
    data.images = np.random.RandomState(0).randint(0, 256, (12, 3, 20, 20)).astype(np.uint8)
    first = data.__getitems__(range(12))["image"]
    assert torch.equal(data[7]["image"], first[7])
    data.set_epoch(1)
    moved = (data.__getitems__(range(12))["image"] - first).abs().flatten(1).max(1).values
    assert (moved > 0.2).sum() >= 10  # 1 of 50 stays where it was


def test_a_fixed_set_has_the_same_crops_in_each_epoch(tmp_path):
    for wnid in ("n02099601", "n02114548"):
        for i in range(12):
            write_picture(tmp_path / "animalfaces" / wnid / f"{i}.jpg", size=(30, 30))
    data = AnimalFacesRestrictedTest(size=16, root=str(tmp_path), margin=3)
    first = data[1]["image"]
    data.set_epoch(1)
    assert first.shape == (3, 16, 16) and torch.equal(data[1]["image"], first)
