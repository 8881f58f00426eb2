import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from invariances.evaluation.metrics.fid import precision_recall
from invariances.evaluation.metrics.fid.precision_recall import precision_and_recall


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
        monkeypatch.setattr(precision_recall, "BLOCK", 7)
        assert precision_and_recall(real, samples) == whole

    def test_too_few(self):
        with pytest.raises(ValueError, match="more than 3 vectors of each set, got 9 and 3"):
            precision_and_recall(normal(9, 2), normal(3, 2))
