import pytest
import torch

from invariances.analysis import blend
from invariances.errors import InvalidInput
from tests.analysis.known_world import pixel


class Task:
    """The factors of a pixel are its red, and the others doubled."""

    device, factor_names = torch.device("cpu"), ("red", "rest")

    def code(self, images):
        return images

    decode = code

    def to_factors(self, code):
        return [code[:, :1], 2 * code[:, 1:]]

    def to_code(self, factors):
        return torch.cat([factors[0], factors[1] / 2], dim=1)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, (0.1, 0.2, 0.3)),
        ({"red": 1.0}, (0.9, 0.2, 0.3)),
        ({"rest": 1.0}, (0.1, 0.4, 0.5)),
        ({"red": 0.5, "rest": 0.5}, (0.5, 0.3, 0.4)),
    ],
)
def test_each_factor_moves_towards_that_of_the_donor(weights, expected):
    assert torch.allclose(blend(Task(), pixel(0.1, 0.2, 0.3), pixel(0.9, 0.4, 0.5), weights), pixel(*expected))


def test_an_unknown_factor_is_refused():
    with pytest.raises(InvalidInput, match="no factor is called blue; expected one of red, rest"):
        blend(Task(), pixel(0.0, 0.0, 0.0), pixel(1.0, 1.0, 1.0), {"blue": 1.0})
