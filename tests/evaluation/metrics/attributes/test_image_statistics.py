import math

import pytest
import torch

from invariances.evaluation.metrics.attributes import STATISTICS
from invariances.evaluation.metrics.attributes.image_statistics import (
    hue,
    orientation,
    position_x,
    position_y,
    scale,
    spatial_frequency,
)


def square(x, y, size, side=41, channels=3):
    """A white square of 2·size + 1 pixels around (x, y) on black."""
    image = -torch.ones(1, channels, side, side)
    image[..., y - size : y + size + 1, x - size : x + size + 1] = 1
    return image


def test_position_and_scale_of_a_square():
    image = square(x=30, y=10, size=2)
    assert position_x(image).item() == pytest.approx((30 - 20) / 20, abs=1e-5)
    assert position_y(image).item() == pytest.approx((10 - 20) / 20, abs=1e-5)
    # (n² − 1)/12 is the variance of n = 5 pixels in each direction; 20 pixels are 1
    assert scale(image).item() == pytest.approx(math.sqrt(2 * (25 - 1) / 12) / 20, abs=1e-5)


def test_the_background_may_have_any_colour():
    assert position_x(-square(30, 10, 2)).item() == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120, 179])
def test_orientation_is_that_of_a_line_and_of_its_half_turn(degrees):
    y, x = torch.meshgrid(torch.linspace(-1, 1, 65), torch.linspace(-1, 1, 65), indexing="ij")
    theta = math.radians(degrees)
    along, across = x * math.cos(theta) + y * math.sin(theta), -x * math.sin(theta) + y * math.cos(theta)
    line = ((across.abs() < 0.1) & (along.abs() < 0.8)).float() * 2 - 1
    found = orientation(line[None, None]).angle().item() / 2
    assert math.sin(found - theta) == pytest.approx(0, abs=0.02)


def test_a_round_foreground_has_no_orientation_and_an_empty_image_no_position():
    assert orientation(square(20, 20, 5)).real.isnan().all()
    assert position_x(torch.zeros(1, 3, 8, 8)).isnan().all()


@pytest.mark.parametrize("cycles", [1, 3, 8])
def test_the_frequency_of_a_wave(cycles):
    wave = torch.sin(2 * math.pi * cycles * torch.arange(32) / 32).expand(1, 1, 32, 32)
    assert spatial_frequency(wave).item() == pytest.approx(cycles / 32, abs=1e-4)


def test_grey_images_have_no_hue():
    assert hue(torch.zeros(1, 3, 4, 4)).real.isnan().all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", STATISTICS)
def test_each_is_a_number_per_image_alone_or_in_a_batch(name, channels):
    images = torch.rand(5, channels, 16, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = STATISTICS[name](images)
    assert together.shape == (5,)
    assert torch.allclose(together, torch.cat([STATISTICS[name](image[None]) for image in images]), equal_nan=True)
