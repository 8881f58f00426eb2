import pytest
import torch

from invariances.analysis import agreement
from tests.analysis.known_world import Red, pixel


def test_each_set_is_compared_with_the_image():
    same = torch.cat([pixel(0.5, -0.5, -0.5), pixel(0.9, 0.9, -0.9)])
    mixed = torch.cat([pixel(0.5, 0.0, 0.0), pixel(-0.5, 0.0, 0.0)])
    found = agreement(Red(), pixel(0.5, -0.5, -0.5), {"same": same, "mixed": mixed})
    assert found["same"].cosine == 1 and found["same"].same_class == 1
    assert found["same"].same_hue == pytest.approx(0.75)  # red, and yellow at 60°
    assert found["mixed"].cosine == 0 and found["mixed"].same_class == 0.5


def test_what_is_not_defined_is_none():
    class Map(Red):
        def decode(self, z):
            return z

    found = agreement(Map(), torch.zeros(1, 1, 1, 1), {"grey": torch.zeros(2, 1, 1, 1)})["grey"]
    assert (found.cosine, found.same_class, found.same_hue) == (1, None, None)
    assert agreement(Red(), pixel(0.0, 0.0, 0.0), {"grey": torch.zeros(2, 3, 1, 1)})["grey"].same_hue is None
