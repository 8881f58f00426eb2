import math

import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from invariances.evaluation.metrics.fid import kernel_distance as module
from invariances.evaluation.metrics.fid.kernel_distance import cmmd, kernel_distance, kernel_estimate


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestKernelDistance:
    def test_by_hand(self):
        # D = 1, x = (0, 1), y = (0, 2): k(0, ·) = 1, k(1, 2) = 27, k(x₁, x₂) = k(y₁, y₂) = 1
        found = kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]]))
        assert found == pytest.approx(1 + 1 - 2 * (1 + 1 + 1 + 27) / 4)

    def test_torch_fidelity(self):
        x, y = normal(60, 16), normal(60, 16, seed=1) + 0.5
        expected = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=60, verbose=False)
        assert kernel_distance(x, y) == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)

    def test_no_bias_for_one_distribution(self):
        found = [
            kernel_distance(normal(20, 4, seed=2 * i), normal(30, 4, seed=2 * i + 1)) for i in range(400)
        ]
        assert abs(torch.tensor(found).mean()) < 4 * torch.tensor(found).std() / 400**0.5

    def test_blocks_and_order_make_no_difference(self, monkeypatch):
        x, y = normal(50, 8), normal(40, 8, seed=1)
        whole = kernel_distance(x, y)
        monkeypatch.setattr(module, "BLOCK", 7)
        assert kernel_distance(x.flip(0), y.roll(3, 0)) == pytest.approx(whole, rel=1e-9)

    def test_too_few(self):
        with pytest.raises(ValueError, match="at least 2 vectors of each set, got 1 and 5"):
            kernel_distance(normal(1, 4), normal(5, 4))

    @pytest.mark.parametrize(("spread", "shift"), [(1, 0), (0.5, 0), (1, 0.2)])
    def test_the_interval_covers(self, spread, shift):
        # the expectation is estimated by the mean of all trials; 0 for one distribution
        found = torch.tensor(
            [
                kernel_estimate(normal(100, 16, seed=2 * i), normal(100, 16, seed=2 * i + 1) * spread + shift)
                for i in range(400)
            ]
        )
        values, half_widths = found.T
        expected = values.mean() if shift or spread != 1 else 0
        covered = ((values - expected).abs() <= half_widths).float().mean().item()
        assert 0.92 <= covered <= 0.98

    def test_the_variance_of_pairs_is_that_of_a_kernel_without_means(self):
        # k = Σ xᵢyᵢ of N(0, 1) in 16 dimensions: every pair has variance 16, none of it of a row or a column
        found = [module._across(normal(50, 16, seed=2 * i), normal(50, 16, seed=2 * i + 1), dot) for i in range(100)]
        assert sum(means.residual for means in found) / 100 == pytest.approx(16, rel=0.03)
        found = [module._within(normal(50, 16, seed=i), dot) for i in range(100)]
        assert sum(means.residual for means in found) / 100 == pytest.approx(16, rel=0.03)


class TestCMMD:
    def test_by_hand(self):
        # unit vectors at right angles have a squared distance of 2: k = exp(−2 / 200)
        value, _ = cmmd(torch.eye(3)[:2], torch.eye(3)[2:].expand(4, -1))
        k = math.exp(-0.01)
        assert value == pytest.approx(1000 * (k + 1 - 2 * k), rel=1e-9)

    def test_no_bias_for_one_distribution(self):
        found = torch.tensor([cmmd(unit(20, seed=2 * i), unit(30, seed=2 * i + 1)) for i in range(400)])
        assert abs(found[:, 0].mean()) < 4 * found[:, 0].std() / 400**0.5
        assert 0.92 <= (found[:, 0].abs() <= found[:, 1]).float().mean() <= 0.98


def dot(x, y):
    return x @ y.T


def unit(n, seed):
    return torch.nn.functional.normalize(normal(n, 8, seed=seed))
