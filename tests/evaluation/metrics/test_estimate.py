import math

import pytest
import torch
from scipy import stats

from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.random_indices import derangement


def draws(n_sets, n, seed=0):
    """Sets of n pairs of correlated positive numbers: (n_sets, n, 2)."""
    common, own = torch.rand(2, n_sets, n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 0.5 + common[..., :1] + 0.3 * own


def test_a_mean_has_students_interval():
    values = torch.tensor([0.0, 1.0, 1.0, 1.0])
    found = Estimate.mean(values)
    assert found.value == 0.75
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 3) * 0.5 / 2)


def test_images_without_a_number_do_not_count():
    known = torch.tensor([0.2, 0.9, 0.4])
    found = Estimate.mean(torch.tensor([0.2, math.nan, 0.9, 0.4, math.nan]))
    assert found.value == pytest.approx(0.5)
    assert found.half_width == pytest.approx(Estimate.mean(known).half_width)
    assert math.isnan(Estimate.mean(torch.full((3,), math.nan)).value)


@pytest.mark.parametrize("combine", [lambda a, b: a / b, lambda a, b: a * b, lambda a, b: 1 - a / b])
def test_intervals_of_quotients_and_products_are_as_wide_as_these_vary(combine):
    values = []
    for pairs in draws(2000, 60):
        estimate = combine(Estimate.mean(pairs[:, 0]), Estimate.mean(pairs[:, 1]))
        values.append((estimate.value, estimate.half_width))
    found, half_widths = torch.tensor(values).unbind(1)
    assert stats.t.ppf(0.975, 59) * found.std().item() == pytest.approx(half_widths.mean().item(), rel=0.06)
    expected = combine(*draws(1, 10**6, seed=1)[0].mean(dim=0))
    assert ((found - expected).abs() <= half_widths).float().mean().item() == pytest.approx(0.95, abs=0.015)


def test_division_by_nothing_is_not_a_number():
    assert math.isnan((Estimate.mean(torch.ones(3)) / Estimate.mean(torch.zeros(3))).value)


def covered(estimates, true):
    """Share of the intervals that hold the true value."""
    ends = [each.interval for each in estimates]
    return sum(low <= true <= high for low, high in ends) / len(ends)


@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize("function", [lambda a, b: a * b + a + b, lambda a, b: (a - b).abs(), lambda a, b: a - 2 * b])
def test_intervals_of_means_over_a_cycle_of_pairs_cover(n, function):
    x = torch.randn(1000, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    estimates = []
    for seed, row in enumerate(x):
        other = derangement(n, seed)
        estimates.append(Estimate.mean(function(row, row[other]), other))
    true = function(*torch.randn(2, 10**6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).mean()
    assert covered(estimates, float(true)) >= (0.92 if n >= 100 else 0.9)
    assert covered(estimates, float(true)) <= 0.98 or function(1, 1) == -1  # neighbours with negative covariance


@pytest.mark.parametrize("n", [20, 100, 300])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 0.99, 1.0])
def test_intervals_of_proportions_cover_and_have_a_width_at_1(n, share):
    values = (torch.rand(1000, n, generator=torch.Generator().manual_seed(0)) < share).double()
    estimates = [Estimate.proportion(row) for row in values]
    assert min(each.half_width for each in estimates) > 1 / n
    assert covered(estimates, share) >= (0.92 if n >= 100 else 0.9)
    low, high = estimates[0].interval
    k, t = int(values[0].sum()), stats.t.ppf(0.975, n - 1)
    expected = stats.binomtest(k, n).proportion_ci(2 * stats.norm.cdf(t) - 1, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.3 / n)


def test_samples_of_an_image_are_as_many_trials_as_they_vary_like():
    n, k = 200, 8
    draw = torch.rand(n, k, generator=torch.Generator().manual_seed(0))
    independent, alike = (draw < 0.97).double().mean(1), (draw[:, 0] < 0.97).double()
    for values, n_trials in ((independent, n * k), (alike, n)):
        p, found = values.mean().item(), Estimate.proportion(values)
        wilson = stats.binomtest(round(p * n_trials), n_trials).proportion_ci(method="wilson")
        assert found.interval == pytest.approx((wilson.low, wilson.high), abs=0.1 * (wilson.high - wilson.low))
        assert found.numbers("share") == {
            "share": p,
            "share_ci": found.half_width,
            "share_low": found.interval[0],
            "share_high": found.interval[1],
        }


@pytest.mark.parametrize("events", [0.05, 0.12, 0.18, 0.5, 1, 2, 3])
def test_intervals_of_rare_events_cover(events):
    """Exactly, from all counts of 200 images: a score interval alone covers in .84 for .18 expected events."""
    n, counts = 200, range(30)
    ends = [Estimate.proportion((torch.arange(n) < count).double()).interval for count in counts]
    inside = [count for count, (low, high) in zip(counts, ends, strict=True) if low <= events / n <= high]
    assert 0.93 <= stats.binom.pmf(inside, n, events / n).sum() <= 1


def test_counts_next_to_their_bound_have_a_lopsided_interval():
    none = Estimate.mean(torch.ones(100)).bounded(1, 100)
    low, high = none.interval
    assert low == 1 and high == pytest.approx(1 + stats.t.ppf(0.975, 99) ** 2 / 100, rel=1e-3)  # no event: z²/n
    few = Estimate.mean(1 + (torch.arange(100) < 4).double()).bounded(1, 100)
    mean, z = 4, stats.t.ppf(0.975, 99)  # the score interval of a Poisson count
    expected = [1 + (mean + z**2 / 2 + sign * z * (mean + z**2 / 4) ** 0.5) / 100 for sign in (-1, 1)]
    assert few.interval == pytest.approx(expected, abs=2e-3)


def test_what_pairs_of_images_add_is_counted_once():
    n, share, found = 60, 0.02, []
    for seed in range(300):
        added = (torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) < share).double()
        added.fill_diagonal_(0)
        pairs = (added - added.sum() / (n * (n - 1))).fill_diagonal_(0).square().sum().item()
        estimate = Estimate.mean(added.sum(dim=1)).with_influence(added.sum(dim=0), pairs)
        found.append((estimate.half_width / stats.t.ppf(0.975, n - 1)) ** 2)
    assert sum(found) / len(found) == pytest.approx(share * (1 - share) * (n - 1) / n, rel=0.06)
