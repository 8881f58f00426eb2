import math

import pytest
import torch

from invariances.evaluation.metrics.hue import hue, hue_distance


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


def brute_force(first, second):
    """The cheapest way to turn n hues into n others: one that keeps their order around the circle."""
    a, b = first.sort().values, second.sort().values
    turns = [(a - b.roll(shift) + math.pi) % (2 * math.pi) - math.pi for shift in range(len(b))]
    return min(turn.abs().mean().item() for turn in turns)


@pytest.mark.parametrize("seed", range(5))
def test_hue_distance_is_the_cheapest_turn(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.rand(2, 40, generator=generator) * 2 - 1) * math.pi
    second = second / (1 + seed)
    assert hue_distance(first, second) == pytest.approx(brute_force(first, second), abs=1e-5)


def test_hue_distance_in_plain_cases():
    even = torch.arange(-179, 181, 2).deg2rad()
    assert hue_distance(even, even) == 0
    assert hue_distance(even, torch.zeros(7)) == pytest.approx(math.pi / 2, abs=1e-3)
    assert hue_distance(torch.tensor([3.0]), torch.tensor([-3.0])) == pytest.approx(2 * math.pi - 6)
    some = torch.tensor([0.1, 0.5, 0.5, 2.0])
    assert hue_distance(some, some.repeat(3) + 0.25) == pytest.approx(0.25, abs=1e-6)  # of other numbers of hues
    assert hue_distance(some + 0.25, some) == pytest.approx(0.25, abs=1e-6)
