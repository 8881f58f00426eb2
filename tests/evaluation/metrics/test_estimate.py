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
    return sum(abs(each.value - true) <= each.half_width for each in estimates) / len(estimates)


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
    # plus four: 2 images of 0 and 2 of 1 in addition
    k = int(values[0].sum())
    p = (k + 2) / (n + 4)
    expected = stats.t.ppf(0.975, n + 3) * (p * (1 - p) / (n + 3)) ** 0.5
    assert estimates[0].half_width == pytest.approx(expected)
