import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from invariances.utils.images import NAN_COLOR, channels_first, from_uint8, grid, save_png, to_uint8


def test_known_values_and_clipping():
    images = torch.tensor([-1.0, 0.0, 1.0, 1.3, -1.2, -0.5, torch.inf, -torch.inf]).view(1, 1, 2, 4)
    assert to_uint8(images).flatten().tolist() == [0, 128, 255, 255, 0, 64, 255, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats(dtype):
    images = torch.tensor([-1.0, 0.0, 1.0], dtype=dtype).view(1, 3, 1, 1)
    assert to_uint8(images).flatten().tolist() == [0, 128, 255]


def test_bytes_survive_the_way_there_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(from_uint8(pixels)), pixels)
    assert from_uint8(pixels).flatten()[[0, 255]].tolist() == [-1, 1]


@pytest.mark.parametrize(("channels", "colour"), [(3, list(NAN_COLOR)), (1, [0])])
def test_nan_is_shown_and_counted_and_the_images_are_left_alone(channels, colour):
    images = torch.zeros(2, channels, 4, 5)
    images[1, 0, 2, 3] = torch.nan
    before = images.clone()
    with pytest.warns(UserWarning, match="1 of 40 pixels are NaN"):
        pixels = to_uint8(images)
    assert pixels[1, :, 2, 3].tolist() == colour
    pixels[1, :, 2, 3] = 128
    assert (pixels == 128).all()
    torch.testing.assert_close(images, before, rtol=0, atol=0, equal_nan=True)


def test_no_warning_without_nan():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_uint8(torch.full((1, 3, 2, 2), 1.5))


@pytest.mark.parametrize("n_images", [1, 7])
def test_grid_holds_every_image(n_images):
    levels = torch.linspace(-1, 0.8, n_images)
    picture = grid(levels.view(-1, 1, 1, 1).expand(n_images, 3, 4, 6))
    assert set(to_uint8(levels.view(-1, 1, 1, 1)).flatten().tolist()) <= set(picture.flatten().tolist())


def test_grid_shows_grey_as_grey_and_nan_in_colour():
    images = torch.rand(4, 1, 8, 8) * 2 - 1
    picture = grid(images)
    assert (picture == picture[..., :1]).all()
    images[2, 0, 5, 5] = torch.nan
    with pytest.warns(UserWarning, match="1 of 256"):
        picture = grid(images)
    assert (picture == torch.tensor(NAN_COLOR)).all(-1).sum() == 1


def test_grid_takes_channels_first_and_last():
    images = torch.rand(7, 3, 8, 10) * 2 - 1
    picture = grid(images, n_columns=4)
    assert picture.shape == (2 * 10 + 2, 4 * 12 + 2, 3)
    assert torch.equal(grid(images.movedim(1, 3), n_columns=4), picture)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"batch, channels, height, width.*\(2, 5, 8, 8\)"):
        channels_first(torch.zeros(2, 5, 8, 8))
    with pytest.raises(ValueError, match="empty batch"):
        grid(torch.zeros(0, 3, 8, 8))


def test_png_keeps_the_pixels(tmp_path):
    picture = grid(torch.rand(2, 3, 8, 8) * 2 - 1)
    save_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.mode == "RGB"
        assert torch.equal(torch.from_numpy(np.array(saved)), picture)
