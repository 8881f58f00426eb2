import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from invariances.models import DiagonalGaussian


def gaussian(deterministic=False):
    generator = torch.Generator().manual_seed(0)
    mean, logvar = torch.randn(2, 3, 5, 1, 1, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, logvar, deterministic)


def reference(posterior):
    return Normal(posterior.mean, (posterior.logvar / 2).exp())


def test_kl_is_that_of_torch_distributions():
    posterior = gaussian()
    expected = kl_divergence(reference(posterior), Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(posterior.kl(), expected)


def test_nll_is_that_of_torch_distributions():
    posterior, x = gaussian(), torch.linspace(-2, 2, 15, dtype=torch.float64).view(3, 5, 1, 1)
    torch.testing.assert_close(posterior.nll(x), -reference(posterior).log_prob(x).sum((1, 2, 3)))


def test_samples_have_the_mean_and_variance():
    mean, logvar = torch.full((100_000, 1, 1, 1), 2.0), torch.full((100_000, 1, 1, 1), math.log(9.0))
    samples = DiagonalGaussian(mean, logvar).sample(torch.Generator().manual_seed(0))
    assert samples.mean().item() == pytest.approx(2, abs=0.05)
    assert samples.std().item() == pytest.approx(3, abs=0.05)


def test_samples_repeat_with_the_generator():
    first, again = (gaussian().sample(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)


def test_samples_are_differentiable_in_mean_and_logvar():
    mean, logvar = torch.zeros(1, 4, 1, 1, requires_grad=True), torch.zeros(1, 4, 1, 1, requires_grad=True)
    sample = DiagonalGaussian(mean, logvar).sample()
    sample.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))
    torch.testing.assert_close(logvar.grad, sample.detach() / 2)  # ε/2 at mean 0 and variance 1


def test_extreme_variances_stay_finite():
    logvar = torch.tensor([-1e9, 1e9]).view(1, 2, 1, 1)
    posterior = DiagonalGaussian(torch.zeros(1, 2, 1, 1), logvar)
    assert posterior.logvar.flatten().tolist() == [-30, 10]
    assert posterior.kl().isfinite().all() and posterior.nll(torch.ones(1, 2, 1, 1)).isfinite().all()


def test_deterministic_codes_have_no_noise():
    posterior = gaussian(deterministic=True)
    assert torch.equal(posterior.sample(), posterior.mean)
    assert posterior.kl().tolist() == posterior.nll(posterior.mean).tolist() == [0, 0, 0]


def test_the_mode_is_the_mean():
    assert torch.equal(gaussian().mode(), gaussian().mean)


@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (3, 1, 1, 1), (3, 5)])
def test_other_shapes_are_refused_not_broadcast(shape):
    with pytest.raises((TypeError, ValueError)):
        gaussian().nll(torch.zeros(shape, dtype=torch.float64))
    with pytest.raises((TypeError, ValueError)):
        DiagonalGaussian(torch.zeros(3, 5, 1, 1), torch.zeros(shape))
