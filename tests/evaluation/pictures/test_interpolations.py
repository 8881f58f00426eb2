import torch

from invariances.evaluation import Interpolations
from invariances.utils.images import to_uint8
from tests.evaluation.factor_world import images, iterator


def test_two_ways_lead_from_each_image_to_the_next():
    picture = Interpolations(n_images=3, n_steps=5).draw(iterator(), images(8))["interpolations"]
    cells = picture[2::3, 2::3]  # pictures of one pixel, two white pixels between them
    assert cells.shape == (6, 5, 3)
    ends = to_uint8(images(3))[:, :, 0, 0]
    assert torch.equal(cells[::2, 0], ends) and torch.equal(cells[::2, -1], ends.roll(-1, 0))
    assert torch.equal(cells[::2], cells[1::2])  # this flow is linear, so both ways are the same
    middle = to_uint8((images(3) + images(3).roll(-1, 0)) / 2)[:, :, 0, 0]
    assert torch.equal(cells[::2, 2], middle)
