import math

import pytest
import torch
from torch.distributions import Normal

from invariances.losses import factor_nll, flow_nll
from tests import golden


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("grid", [(), (1, 1), (2, 3)])
def test_flow_nll_is_the_negative_log_likelihood_without_its_constant(grid):
    v, logdet = normal(5, 4, *grid), normal(5, seed=1)
    log_likelihood = Normal(0, 1).log_prob(v).flatten(1).sum(1) + logdet
    constant = v[0].numel() * math.log(2 * math.pi) / 2
    assert_equal(flow_nll(v, logdet), -log_likelihood.mean() - constant)


@pytest.mark.parametrize("name", ["iin_factor_chunk", "iin_factor_split"])
def test_pairs_as_released(name):
    values, rho = golden.load(name), golden.entry(name)["rho"]
    first, second = ([values[f"output{i}.{k}"] for k in range(3)] for i in (1, 2))
    assert_equal(flow_nll(torch.cat(first, dim=1), values["logdet1"]), values["loss1"])
    for factors, loss in (("factors", "loss"), ("factors_negative", "loss_negative")):
        pair = factor_nll(first, values["logdet1"], second, values["logdet2"], values[factors], rho)
        assert_equal(pair, values[loss])


@pytest.mark.parametrize(("factor", "shared"), [(0, {0}), (1, {1}), (2, {2}), (-1, {0, 2}), (-2, {0, 1})])
def test_pairs_are_the_likelihood_of_correlated_factors(factor, shared):
    rho, sizes = 0.6, (2, 3, 1)
    first, second = ([normal(7, n, seed=10 * i + n) for n in sizes] for i in (1, 2))
    logdet1, logdet2 = normal(7, seed=1), normal(7, seed=2)
    log_likelihood, constant = logdet1 + logdet2, 0.0
    for k, (e1, e2) in enumerate(zip(first, second, strict=True)):
        std = math.sqrt(1 - rho**2) if k in shared else 1.0
        mean = rho * e1 if k in shared else 0 * e1
        log_likelihood = (
            log_likelihood + Normal(0, 1).log_prob(e1).sum(1) + Normal(mean, std).log_prob(e2).sum(1)
        )
        constant += sizes[k] * (math.log(2 * math.pi) + math.log(std))
    expected = -log_likelihood.mean() - constant
    assert_equal(factor_nll(first, logdet1, second, logdet2, factor, rho), expected)
    each = torch.full((7,), factor)
    assert_equal(factor_nll(first, logdet1, second, logdet2, each, rho), expected)


def test_each_pair_shares_its_own_factor():
    first, second = [normal(2, 1, seed=k) for k in range(2)], [normal(2, 1, seed=k) for k in range(2, 4)]
    zero = torch.zeros(2, dtype=torch.float64)
    both = factor_nll(first, zero, second, zero, torch.tensor([0, -1]))
    halves = [
        factor_nll([e[i : i + 1] for e in first], zero[:1], [e[i : i + 1] for e in second], zero[:1], factor)
        for i, factor in enumerate([0, -1])
    ]
    assert_equal(both, sum(halves) / 2)


def test_gradients_reach_both_examples():
    first, second = [normal(4, 2).requires_grad_()], [normal(4, 2, seed=1).requires_grad_()]
    logdet = torch.zeros(4, dtype=torch.float64)
    factor_nll(first, logdet, second, logdet, 0, rho=0.5).backward()
    assert first[0].grad.abs().min() > 0 and second[0].grad.abs().min() > 0


@pytest.mark.parametrize("factor", [3, -3, torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, -7])])
def test_factors_that_do_not_exist_are_refused(factor):
    e, logdet = [torch.zeros(4, 2)] * 3, torch.zeros(4)
    with pytest.raises(ValueError, match="expected -2 to 2, since there are 3 factors"):
        factor_nll(e, logdet, e, logdet, factor)


@pytest.mark.parametrize("factor", [torch.zeros(4), torch.zeros(3).long(), torch.zeros(4, 1).long()])
def test_factors_of_another_kind_or_shape_are_refused(factor):
    e, logdet = [torch.zeros(4, 2)] * 3, torch.zeros(4)
    with pytest.raises(ValueError, match=r"expected integers \(4,\)"):
        factor_nll(e, logdet, e, logdet, factor)


def test_pairs_of_unequal_factors_are_refused():
    a, b, logdet = torch.zeros(4, 2), torch.zeros(4, 1), torch.zeros(4)
    for first, second in (([a, b], [b, a]), ([a, b], [a])):
        with pytest.raises(ValueError, match="expected factors of the same shapes"):
            factor_nll(first, logdet, second, logdet, 0)


@pytest.mark.parametrize("rho", [1.0, -0.5, 2.0])
def test_correlations_outside_the_range_are_refused(rho):
    e, logdet = [torch.zeros(4, 2)], torch.zeros(4)
    with pytest.raises(ValueError, match=f"rho is {rho}"):
        factor_nll(e, logdet, e, logdet, 0, rho)
