import math
import time

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from invariances.evaluation.metrics.fid.frechet import FeatureStatistics, frechet_distance


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def statistics_of(rows, batch_size=None):
    statistics = FeatureStatistics()
    for batch in rows.split(batch_size or len(rows)):
        statistics.update(batch)
    return statistics


def random_cov(n_features, seed, rank=None):
    factor = normal(n_features, rank or 2 * n_features, seed=seed)
    return factor @ factor.T / n_features


class TestFrechetDistance:
    def test_diagonal_with_a_zero(self):
        mu, cov1, cov2 = np.array([1.0, 0, 0]), np.diag([1.0, 4, 9]), np.diag([4.0, 1, 0])
        assert frechet_distance(mu, cov1, np.zeros(3), cov2) == pytest.approx(12, abs=1e-6)
        assert frechet_distance(np.zeros(3), cov2, mu, cov1) == pytest.approx(12, abs=1e-6)

    @pytest.mark.parametrize(("mean", "std1", "std2"), [(0.0, 1.0, 1.0), (3.0, 2.0, 0.5), (-1e3, 1e-3, 0.0)])
    def test_one_dimension(self, mean, std1, std2):
        found = frechet_distance(np.array([mean]), np.array([[std1**2]]), np.zeros(1), np.array([[std2**2]]))
        assert found == pytest.approx(mean**2 + (std1 - std2) ** 2, rel=1e-9, abs=1e-9)

    def test_two_dimensions_that_do_not_commute(self):
        # tr(M^½) = sqrt(tr M + 2 sqrt(det M)) for 2 × 2 matrices
        cov1, cov2 = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[5.0, -2.0], [-2.0, 1.0]])
        product = cov1 @ cov2
        root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
        found = frechet_distance(np.zeros(2), cov1, np.zeros(2), cov2)
        assert found == pytest.approx(np.trace(cov1) + np.trace(cov2) - 2 * root, abs=1e-9)

    def test_rotated_spectra(self):
        # covariances with common eigenvectors: the roots of the eigenvalues are subtracted
        rotation, _ = torch.linalg.qr(normal(64, 64))
        values1, values2 = torch.logspace(-6, 2, 64).double(), torch.logspace(1, -5, 64).double()
        covs = [rotation @ values.diag() @ rotation.T for values in (values1, values2)]
        found = frechet_distance(torch.zeros(64), covs[0], torch.ones(64), covs[1])
        expected = 64 + (values1.sqrt() - values2.sqrt()).square().sum().item()
        assert found == pytest.approx(expected, abs=1e-6)

    def test_matrix_square_root(self):
        cov1, cov2 = random_cov(40, seed=1), random_cov(40, seed=2)
        root = np.trace(sqrtm((cov1 @ cov2).numpy())).real
        expected = (cov1.trace() + cov2.trace()).item() - 2 * root
        assert frechet_distance(torch.zeros(40), cov1, torch.zeros(40), cov2) == pytest.approx(
            expected, abs=1e-8
        )

    def test_symmetric_in_its_arguments(self):
        mu1, mu2, cov1, cov2 = normal(30), normal(30, seed=1), random_cov(30, 2, rank=5), random_cov(30, 3)
        there, back = frechet_distance(mu1, cov1, mu2, cov2), frechet_distance(mu2, cov2, mu1, cov1)
        assert there == pytest.approx(back, rel=1e-6)

    @pytest.mark.parametrize("rank", [3, 64])
    @pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
    def test_a_gaussian_and_itself(self, rank, scale):
        cov = scale * random_cov(64, seed=0, rank=rank)
        assert 0 <= frechet_distance(normal(64), cov, normal(64), cov) <= 1e-3

    def test_zero_covariances(self):
        assert frechet_distance(np.ones(4), np.zeros((4, 4)), np.zeros(4), np.zeros((4, 4))) == 4

    def test_a_singular_covariance_is_none_with_negative_eigenvalues(self):
        assert frechet_distance(np.zeros(2), np.ones((2, 2)), np.zeros(2), np.zeros((2, 2))) == pytest.approx(2)

    def test_gradients_and_reversed_arrays_are_no_matter(self):
        mean, cov = np.array([1.0, 0, 0]), np.diag([1.0, 4, 9])
        plain = frechet_distance(mean, cov, np.zeros(3), np.eye(3))
        tensors = [torch.tensor(each, requires_grad=True) for each in (mean, cov)]
        assert frechet_distance(*tensors, np.zeros(3), np.eye(3)) == plain
        views = mean[::-1].copy()[::-1], cov[::-1, ::-1].copy()[::-1, ::-1]
        assert frechet_distance(*views, np.zeros(3), np.eye(3)) == plain

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((np.zeros(3), np.eye(4), np.zeros(3), np.eye(3)), r"\(3,\), \(4, 4\), \(3,\), \(3, 3\)"),
            ((np.zeros(3), np.zeros((3, 2)), np.zeros(3), np.eye(3)), r"cov1 has shape \(3, 2\)"),
            ((np.zeros(3), np.eye(3), np.full(3, np.nan), np.eye(3)), "mu2 has 3 values that are not finite"),
            ((np.zeros(2), np.eye(2), np.zeros(2), np.array([[1, 2], [0, 1.0]])), "cov2 is not symmetric"),
            ((np.zeros(2), np.diag([1.0, -1]), np.zeros(2), np.eye(2)), "negative eigenvalues"),
            ((np.zeros(2), np.array([[0, 1.0], [1, 0]]), np.zeros(2), np.eye(2)), "trace 0 has negative eigenvalues"),
            ((np.zeros(2), np.eye(2), np.zeros(2), np.array([[1, 2.0], [2, 1]])), "trace 2 has negative eigenvalues"),
            ((np.zeros(2), np.eye(2) + 0j, np.zeros(2), np.eye(2)), "cov1 is complex; expected real numbers"),
            ((np.full(2, 1e200), np.eye(2), np.zeros(2), np.eye(2)), "squares overflow"),
            ((np.zeros(2), 1e170 * np.eye(2), np.zeros(2), 1e170 * np.eye(2)), "squares overflow"),
        ],
    )
    def test_what_is_no_gaussian_is_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            frechet_distance(*arguments)


class TestFeatureStatistics:
    @pytest.mark.parametrize("batch_size", [1, 7, 40, 100])
    @pytest.mark.parametrize("n_features", [5, 99, 300])
    def test_moments_do_not_depend_on_batches(self, batch_size, n_features):
        rows = normal(100, n_features)
        statistics = statistics_of(rows, batch_size)
        assert statistics.n == 100
        torch.testing.assert_close(statistics.mean, rows.mean(0))
        torch.testing.assert_close(statistics.cov, torch.cov(rows.T))

    def test_far_from_zero(self):
        rows1, rows2 = normal(500, 20), normal(400, 20, seed=1) * 1.1
        near = statistics_of(rows1, 30).distance(statistics_of(rows2, 30))
        far = statistics_of(rows1 + 1e4, 30).distance(statistics_of(rows2 + 1e4, 30))
        assert far == pytest.approx(near, abs=1e-3)

    @pytest.mark.parametrize(("n1", "n2"), [(10, 10), (10, 200), (200, 10), (200, 200)])
    def test_distance_is_that_of_the_moments(self, n1, n2):
        one, two = statistics_of(normal(n1, 64)), statistics_of(normal(n2, 64, seed=1) + 0.3)
        expected = frechet_distance(one.mean, one.cov, two.mean, two.cov)
        assert expected > 0
        assert one.distance(two) == pytest.approx(expected, rel=1e-6)
        again = FeatureStatistics.from_moments(two.n, two.mean, two.cov)
        assert one.distance(again) == pytest.approx(expected, rel=1e-6)

    def test_fewer_rows_than_features_is_fast_and_exact(self):
        # with common mean 0, disjoint supports have no common root: the distance is the sum of all variances
        rows1, rows2 = torch.zeros(100, 2048).double(), torch.zeros(100, 2048).double()
        rows1[:, :1024], rows2[:, 1024:] = normal(100, 1024), normal(100, 1024, seed=1)
        rows1, rows2 = rows1 - rows1.mean(0), rows2 - rows2.mean(0)
        start = time.process_time()
        found = statistics_of(rows1).distance(statistics_of(rows2))
        assert time.process_time() - start < 0.6  # one decomposition of 2048 × 2048 takes longer
        assert found == pytest.approx((rows1.var(0).sum() + rows2.var(0).sum()).item(), rel=1e-9)

    @pytest.mark.parametrize("n", [10, 300])
    def test_a_set_and_itself(self, n):
        rows = normal(n, 128) * 30 + 5
        assert 0 <= statistics_of(rows).distance(statistics_of(rows.flip(0), 7)) <= 1e-3

    def test_one_picture_many_times(self):
        rows = normal(1, 16).expand(40, -1)
        assert statistics_of(rows).distance(statistics_of(rows)) == pytest.approx(0, abs=1e-9)
        assert statistics_of(rows).distance(statistics_of(rows + 1)) == pytest.approx(16)

    def test_broken_rows_are_counted(self):
        rows = torch.ones(6, 3)
        rows[2, 1], rows[4, 0] = torch.nan, torch.inf
        with pytest.raises(ValueError, match="2 of 6 feature vectors"):
            FeatureStatistics().update(rows)

    def test_too_little_is_named(self):
        with pytest.raises(ValueError, match="the statistics are empty"):
            _ = FeatureStatistics().mean
        with pytest.raises(ValueError, match="at least 2 rows, got 1"):
            _ = statistics_of(normal(1, 4)).cov
        with pytest.raises(ValueError, match="got 5 features after batches of 4"):
            statistics_of(normal(2, 4)).update(normal(2, 5))
