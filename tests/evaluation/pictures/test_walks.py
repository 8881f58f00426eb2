import pytest
import torch

from invariances.evaluation import Walks
from tests.evaluation.factor_world import images, iterator


def walk(**arguments):
    """(B, n_steps, N_0) of the factor `first`, which is N(0, 1) at the start."""
    walks = Walks(n_images=2000, n_steps=6, **arguments)
    factors = iterator().to_factors(images())
    return walks._walk(factors[0], torch.Generator().manual_seed(0))[..., 0, 0]


def test_a_walk_stays_where_the_flow_has_its_codes():
    steps = walk(step_size=0.6)
    assert torch.equal(steps[:, 0], 2 * images()[:, :1, 0, 0])
    assert steps.var(dim=0).flatten().tolist() == pytest.approx([1] * 6, abs=0.15)
    next_to_each_other = (steps[:, 4] * steps[:, 5]).mean().item()
    assert next_to_each_other == pytest.approx((1 - 0.6**2) ** 0.5, abs=0.06)


def test_each_factor_has_a_picture_in_which_nothing_else_moves():
    pictures = Walks(n_images=2, n_steps=3).draw(iterator(), images(5))
    assert set(pictures) == {"walk_first", "walk_residual"}
    cells = pictures["walk_first"][2::3, 2::3].long()  # pictures of one pixel, two white pixels between them
    assert cells.shape == (2, 3, 3)
    assert (cells[:, :, 1:] == cells[:, :1, 1:]).all() and (cells[:, 1:, 0] != cells[:, :1, 0]).all()
