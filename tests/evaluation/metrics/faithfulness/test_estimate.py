import math

import pytest
import torch

from invariances.evaluation.metrics.faithfulness.estimate import Estimate


def draws(n_sets, n, seed=0):
    """Sets of n pairs of correlated positive numbers: (n_sets, n, 2)."""
    common, own = torch.rand(2, n_sets, n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 0.5 + common[..., :1] + 0.3 * own


def test_a_mean_has_the_normal_interval():
    values = torch.tensor([0.0, 1.0, 1.0, 1.0])
    found = Estimate.mean(values)
    assert found.value == 0.75
    assert found.half_width == pytest.approx(1.96 * 0.5 / 2)


def test_images_without_a_number_do_not_count():
    known = torch.tensor([0.2, 0.9, 0.4])
    found = Estimate.mean(torch.tensor([0.2, math.nan, 0.9, 0.4, math.nan]))
    assert found.value == pytest.approx(0.5)
    # to first order, and with n − 1 for n
    assert found.half_width == pytest.approx(Estimate.mean(known).half_width, rel=0.15)
    assert math.isnan(Estimate.mean(torch.full((3,), math.nan)).value)


@pytest.mark.parametrize("combine", [lambda a, b: a / b, lambda a, b: a * b, lambda a, b: 1 - a / b])
def test_intervals_of_quotients_and_products_are_as_wide_as_these_vary(combine):
    values = []
    for pairs in draws(2000, 60):
        estimate = combine(Estimate.mean(pairs[:, 0]), Estimate.mean(pairs[:, 1]))
        values.append((estimate.value, estimate.half_width))
    found, half_widths = torch.tensor(values).unbind(1)
    assert 1.96 * found.std().item() == pytest.approx(half_widths.mean().item(), rel=0.06)
    expected = combine(*draws(1, 10**6, seed=1)[0].mean(dim=0))
    assert ((found - expected).abs() <= half_widths).float().mean().item() == pytest.approx(0.95, abs=0.015)


def test_division_by_nothing_is_not_a_number():
    assert math.isnan((Estimate.mean(torch.ones(3)) / Estimate.mean(torch.zeros(3))).value)
