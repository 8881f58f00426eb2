import pytest
import torch

from invariances.demo.mixing_grid import with_heads
from invariances.demo.widgets import sheet
from invariances.utils.images import NAN_COLOR


def test_what_is_between_the_images_of_a_sheet_is_transparent():
    picture = sheet(torch.ones(2, 1, 3, 4), n_columns=2)
    opaque = torch.zeros(7, 14, dtype=torch.uint8)
    opaque[2:5, 2:6] = opaque[2:5, 8:12] = 255
    assert all(torch.equal(channel, opaque) for channel in picture)


def test_a_nan_in_a_sheet_shows_its_colour():
    with pytest.warns(UserWarning, match="NaN"):
        picture = sheet(torch.full((1, 3, 1, 1), torch.nan), n_columns=1)
    assert picture.flatten().tolist() == [*NAN_COLOR, 255]


def test_the_corner_of_a_mixing_grid_is_transparent():
    opacity = with_heads(torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 3, 4, 4))[3]
    assert opacity.shape == (20, 20) and not opacity[:8, :8].any()
    assert opacity.count_nonzero() == 8 * 16  # heads and cells
