import pytest
import torch

from invariances.evaluation.metrics.fid import intervals
from invariances.evaluation.metrics.fid.intervals import (
    frechet_half_width,
    frechet_influence,
    precision_recall_half_widths,
)
from invariances.evaluation.metrics.fid.precision_recall import precision_and_recall


def normal(n, n_features, seed):
    return torch.randn(n, n_features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestFrechet:
    @pytest.mark.parametrize(("n", "least"), [(80, 0.95), (20, 0.8)])  # more and fewer than there are features
    def test_influence_is_the_effect_of_leaving_one_out(self, n, least):
        x, y = normal(n, 30, 0) + 0.3, normal(90, 30, 1) * 1.2
        of_x, of_y = frechet_influence(x, y)
        whole = intervals._distance(x, y)
        for values, leave in ((of_x, lambda i: (without(x, i), y)), (of_y, lambda i: (x, without(y, i)))):
            effects = torch.tensor([whole - intervals._distance(*leave(i)) for i in range(15)])
            assert torch.corrcoef(torch.stack([effects, values[:15]]))[0, 1] > least

    @pytest.mark.parametrize("n_features", [16, 64])
    @pytest.mark.parametrize(("spread", "shift"), [(1, 0), (0.5, 0), (1, 0.3), (1.5, 0)])
    @pytest.mark.slow
    def test_the_interval_covers(self, n_features, spread, shift):
        assert 0.9 <= coverage(n_features, spread, shift, n_trials=200) <= 0.99

    def test_the_interval_covers_for_equal_and_for_shifted_distributions(self):
        for shift in (0, 0.5):
            assert 0.85 <= coverage(16, 1, shift, n_trials=25) <= 1

    def test_order_makes_no_difference(self):
        x, y = normal(60, 8, 0), normal(50, 8, 1)
        assert frechet_half_width(x, y) == pytest.approx(frechet_half_width(x.flip(0), y.roll(9, 0)))

    def test_left_out_where_it_would_take_long_or_means_nothing(self):
        assert frechet_half_width(normal(2000, 600, 0), normal(2000, 600, 1)) is None
        assert frechet_half_width(normal(3, 4, 0), normal(9, 4, 1)) is None


class TestPrecisionRecall:
    @pytest.mark.parametrize("spread", [1, 0.7])
    def test_the_intervals_cover(self, spread):
        shares, widths = [], []
        for i in range(60):
            x, y = normal(100, 8, 2 * i), normal(100, 8, 2 * i + 1) * spread
            shares.append(precision_and_recall(x, y))
            widths.append(precision_recall_half_widths(x, y))
        shares, widths = torch.tensor(shares), torch.tensor(widths)
        covered = ((shares - shares.mean(0)).abs() <= widths).float().mean(0)
        assert ((covered >= 0.88) & (covered <= 1)).all()

    def test_a_share_of_one_has_an_interval(self):
        x = normal(100, 4, 0)
        assert precision_and_recall(x, x) == (1, 1)
        assert min(precision_recall_half_widths(x, x)) > 0.02

    def test_left_out_for_few(self):
        assert precision_recall_half_widths(normal(7, 4, 0), normal(50, 4, 1)) is None


def without(rows, i):
    return torch.cat([rows[:i], rows[i + 1 :]])


def coverage(n_features, spread, shift, n_trials):
    """Share of the intervals that hold the mean of all trials; each feature has a scale of its own."""
    scales, values, widths = torch.linspace(1, 0.1, n_features), [], []
    for i in range(n_trials):
        x = normal(100, n_features, 2 * i) * scales
        y = (normal(100, n_features, 2 * i + 1) * spread + shift) * scales
        values.append(intervals._distance(x, y))
        widths.append(frechet_half_width(x, y))
    values, widths = torch.tensor(values), torch.tensor(widths)
    return ((values - values.mean()).abs() <= widths).float().mean().item()
