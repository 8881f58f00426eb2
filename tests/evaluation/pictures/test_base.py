import pytest
import torch

from invariances.evaluation import Drawing, Swaps, Walks
from invariances.utils.images import grid
from tests.evaluation.factor_world import images, iterator, loader


class Noisy(Drawing):
    """The images with noise."""

    def pictures(self, iterator, images, generator):
        return {"noisy": grid(images + torch.randn(images.shape, generator=generator))}


def test_it_draws_the_same_each_time_and_another_seed_does_not():
    first, again = (Noisy(4).draw(iterator(), images(9))["noisy"] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, Noisy(4, seed=1).draw(iterator(), images(9))["noisy"])


def test_it_writes_its_pictures_and_has_no_numbers(tmp_path):
    assert Noisy(4)(iterator(), loader(), tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.png"]


def test_pictures_of_factors_that_cannot_name_a_file(tmp_path):
    task = iterator()
    task.factor_names = ("../first", "residual")
    message = r"'(walk|swaps)_../first' cannot name a file; expected factor_names without /"
    for drawing in (Walks(2), Swaps(2)):
        with pytest.raises(ValueError, match=message):
            drawing(task, loader(), tmp_path / "pictures")
    assert not list(tmp_path.iterdir())
