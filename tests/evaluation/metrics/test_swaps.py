import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from invariances.evaluation import Swaps
from invariances.evaluation.metrics.estimate import INTERVAL
from invariances.evaluation.metrics.swaps import swap_scores
from invariances.utils.images import to_uint8
from tests.evaluation.factor_world import Sign, images, iterator, loader


def test_a_swap_brings_what_the_factor_holds_and_nothing_else():
    scores = swap_scores(iterator(), images(), Sign())
    exact = {
        "swap_none_class_kept": 1,
        "swap_none_class_donor": 0,
        "swap_first_class_donor": 1,
        "swap_first_class_kept": 0,
        "swap_residual_class_donor": 0,
        "swap_residual_class_kept": 1,
        "swap_none_colour_kept": 1,
    }
    assert {name: scores[name] for name in exact} == pytest.approx(exact, abs=1e-6)
    # of three channels, the correlation is 1 in those that come from the donor and 0 in the others
    rough = {
        "swap_none_colour_donor": 0,
        "swap_first_colour_donor": 1 / 3,
        "swap_first_colour_kept": 2 / 3,
        "swap_residual_colour_donor": 2 / 3,
        "swap_residual_colour_kept": 1 / 3,
    }
    assert {name: scores[name] for name in rough} == pytest.approx(rough, abs=0.05)
    measured = [name for name in scores if not name.endswith(INTERVAL)]
    assert len(measured) == len(exact) + len(rough)
    assert {f"{name}_ci" for name in measured} <= scores.keys()


def test_only_pairs_of_different_classes_count():
    same = images().abs()  # all of class 1
    scores = swap_scores(iterator(), same, Sign())
    assert scores["swap_first_class_donor"] != scores["swap_first_class_donor"]  # NaN: there is no such pair
    assert "swap_first_class_donor_ci" not in scores


def test_batches_make_no_difference():
    one, many = (swap_scores(iterator(), images(103), Sign(), batch_size=size) for size in (1, 50))
    assert one == pytest.approx(many, abs=1e-6)


def test_without_a_classifier_or_a_colour():
    scores = swap_scores(iterator(), images(50))
    assert len(scores) == 12 and all("colour" in name for name in scores)


def test_a_channel_that_does_not_vary_is_left_out():
    pale = images(500)
    pale[:, 1] = 0.3
    scores = swap_scores(iterator(), pale)
    # the factor `first` is the red channel; of the two that vary, one is the donor's
    assert scores["swap_first_colour_donor"] == pytest.approx(0.5, abs=0.1)
    assert scores["swap_none_colour_kept"] == pytest.approx(1, abs=1e-6)
    assert swap_scores(iterator(), torch.full((20, 3, 1, 1), 0.3)) == {}


class Noisy(nn.Module):
    """A classifier that is wrong in one case of ten, at random, of what `Sign` says."""

    def forward(self, x):
        wrong = torch.rand(len(x)) < 0.1
        return torch.where(wrong[:, None], -1, 1) * Sign()(x)


def test_the_intervals_cover():
    """Shares of pairs that share images, and correlations, over 200 sets of 100 images."""
    torch.manual_seed(0)
    found = []
    for seed in range(200):
        x = torch.randn(100, 3, 1, 1, generator=torch.Generator().manual_seed(seed)) / 2
        found.append(swap_scores(iterator(), x, Noisy(), batch_size=100))
    for name in ("swap_first_class_donor", "swap_first_colour_donor", "swap_residual_colour_kept"):
        values, widths = (torch.tensor([scores[each] for scores in found]) for each in (name, f"{name}_ci"))
        covered = ((values - values.mean()).abs() <= widths).float().mean().item()
        assert 0.92 <= covered <= 0.99, name


def test_a_share_of_one_has_an_interval():
    assert swap_scores(iterator(), images(50), Sign())["swap_first_class_donor_ci"] > 0.05


def test_a_network_that_is_no_classifier():
    with pytest.raises(ValueError, match=r"returned shape \(50, 3, 1, 1\); expected logits \(B, classes\)"):
        swap_scores(iterator(), images(100), nn.Identity())
    with pytest.raises(ValueError, match="logits that are not finite for 50 of 50 images"):
        swap_scores(iterator(), torch.nan * images(100), Sign())


def test_one_image_has_no_donor():
    with pytest.raises(ValueError, match="at least 2"):
        swap_scores(iterator(), images(1))


def test_the_table_has_donors_above_and_images_on_the_left(tmp_path):
    numbers = Swaps(n_images=2, n_pairs=20, classifier=Sign())(iterator(), loader(), tmp_path)
    assert numbers["swap_first_class_donor"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"swaps_first.png", "swaps_residual.png"}
    picture = np.asarray(Image.open(tmp_path / "swaps_first.png"))
    cells = picture[2::3, 2::3]  # pictures of one pixel, two white pixels between them
    a, b = to_uint8(images(2))[:, :, 0, 0].tolist()
    swapped = [[b[0], a[1], a[2]], [a[0], b[1], b[2]]]
    expected = [[[255] * 3, a, b], [a, a, swapped[0]], [b, swapped[1], b]]
    assert cells.tolist() == expected
