import math

import pytest
import torch

from invariances.evaluation.colour import hue


@pytest.mark.parametrize(
    ("rgb", "angle", "chroma"),
    [
        ((1, 0, 0), 0, 1),
        ((0, 1, 0), 2 * math.pi / 3, 1),
        ((0, 0, 1), -2 * math.pi / 3, 1),
        ((1, 1, 0), math.pi / 3, 1),
        ((0.5, 0, 0), 0, 0.5),
    ],
)
def test_hue_of_plain_colours(rgb, angle, chroma):
    image = (2 * torch.tensor(rgb, dtype=torch.float32) - 1).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    found_angle, found_chroma = hue(image)
    assert found_angle.item() == pytest.approx(angle, abs=1e-6)
    assert found_chroma.item() == pytest.approx(chroma, abs=1e-6)


def test_grey_has_no_chroma():
    assert hue(torch.zeros(1, 3, 2, 2))[1].item() == 0


def test_brightness_and_background_do_not_move_the_hue():
    digit = torch.full((1, 3, 4, 4), -1.0)
    digit[:, 0, 1:3, 1:3], digit[:, 2, 1:3, 1:3] = 0.5, -0.25  # (0.75, 0, 0.375)
    plain = (2 * torch.tensor([1.0, 0.0, 0.5]) - 1).reshape(1, 3, 1, 1)
    assert hue(digit)[0].item() == pytest.approx(hue(plain)[0].item(), abs=1e-6)
