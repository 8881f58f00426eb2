import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from invariances.evaluation.metrics.fid import pairwise
from invariances.evaluation.metrics.fid.pairwise import kernel_distance, precision_and_recall


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
        monkeypatch.setattr(pairwise, "BLOCK", 7)
        assert kernel_distance(x.flip(0), y.roll(3, 0)) == pytest.approx(whole, rel=1e-9)

    def test_too_few(self):
        with pytest.raises(ValueError, match="at least 2 vectors of each set, got 1 and 5"):
            kernel_distance(normal(1, 4), normal(5, 4))


class TestPrecisionAndRecall:
    def test_samples_in_one_of_two_clusters(self):
        # half of the real images is far from all samples, a third of the samples is far from all real images
        cluster = normal(20, 2)
        real = torch.cat([cluster, cluster + 100])
        samples = torch.cat([cluster + 1e-3, normal(10, 2, seed=1) - 100])
        assert precision_and_recall(real, samples) == pytest.approx((20 / 30, 0.5))

    def test_torch_fidelity(self):
        real, samples = normal(200, 6), normal(150, 6, seed=1) * 1.2
        expected = prc_features_to_metric(samples, real, verbose=False)
        assert precision_and_recall(real, samples) == pytest.approx(
            (expected["precision"], expected["recall"])
        )

    @pytest.mark.parametrize("offset", [0.0, 1e4])
    def test_equal_sets_cover_each_other_even_if_all_images_are_one(self, offset):
        several, one = normal(30, 8) + offset, normal(1, 8).expand(30, -1) + offset
        assert precision_and_recall(several, several) == (1, 1)
        assert precision_and_recall(one, one) == (1, 1)

    def test_blocks_make_no_difference(self, monkeypatch):
        real, samples = normal(50, 4), normal(40, 4, seed=1)
        whole = precision_and_recall(real, samples)
        monkeypatch.setattr(pairwise, "BLOCK", 7)
        assert precision_and_recall(real, samples) == whole

    def test_too_few(self):
        with pytest.raises(ValueError, match="more than 3 vectors of each set, got 9 and 3"):
            precision_and_recall(normal(9, 2), normal(3, 2))
