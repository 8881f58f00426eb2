"""Calibration in a toy world: the value of every measure is known for flows with known faults."""

import math

import pytest
import torch

from invariances.errors import InvalidInput
from invariances.evaluation.metrics.faithfulness.c2st import c2st
from invariances.evaluation.metrics.faithfulness.calibration import (
    calibration,
    energy_skill,
    rank_chi2,
    residual_variance,
    spread_skill,
)
from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages
from tests.evaluation.metrics.faithfulness.toy_flows import FLOWS, N_KNOWN, NOISE, OPEN, TOTAL, N, sampled

ERROR = {"ignores z": N_KNOWN, "half of the dimensions": N_KNOWN / 2, "half of the mean": N_KNOWN / 4}


def variance_of(flow):
    """Variance of the samples for one z, summed over the dimensions."""
    if flow.startswith("x"):
        return OPEN * float(flow[1:]) ** 2
    return OPEN + {"half of the mean": N_KNOWN * 0.75}.get(flow, ERROR.get(flow, 0))


@pytest.mark.parametrize("flow", FLOWS)
def test_spread_is_compared_with_the_error_of_the_mean(flow):
    codes, samples, _ = sampled(flow, 2000)
    variance, error = variance_of(flow), OPEN + ERROR.get(flow, 0)
    expected = math.sqrt(variance * (1 + 1 / 8) / (error + variance / 8))
    found = spread_skill(codes, samples)
    assert found.value == pytest.approx(expected, abs=0.02)
    assert abs(found.value - expected) < 1.5 * found.half_width


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("k", [2, 8])
def test_residual_variance_depends_on_the_mean_alone(flow, k):
    found = residual_variance(*sampled(flow, 2000, k)[:2])
    assert found.value == pytest.approx((OPEN + ERROR.get(flow, 0)) / TOTAL, abs=0.02)


@pytest.mark.parametrize("n", [60, 300, 1000])
def test_ranks_of_an_exact_flow_are_uniform_whatever_depends_on_what(n):
    codes, samples, _ = sampled("exact", n)
    assert rank_chi2(codes, samples) == pytest.approx(1, abs=0.25)
    # 64 copies of one dimension: one χ² with 8 degrees of freedom, of standard deviation ½; the mean over 40 sets
    copies = [sampled("exact", n, seed=seed)[:2] for seed in range(40)]
    found = [rank_chi2(c[:, :1].expand(-1, N), s[..., :1].expand(-1, -1, N)) for c, s in copies]
    assert sum(found) / len(found) == pytest.approx(1, abs=0.25)


def test_ranks_are_pooled_at_the_middle_or_at_the_ends():
    too_wide, too_narrow = (rank_chi2(*sampled(flow, 1000)[:2]) for flow in ("x1.5", "x0.5"))
    assert too_wide > 5 and too_narrow > 30
    codes = torch.arange(9.0).repeat(10)[:, None]  # each rank ten times: χ² = 0
    assert rank_chi2(codes, torch.arange(8.0).add(0.5).expand(90, 8)[..., None]) == 0


def test_ties_are_ordered_at_random():
    codes, samples = torch.zeros(4000, 8), torch.zeros(4000, 8, 8)
    assert rank_chi2(codes, samples) == pytest.approx(1, abs=0.6)
    assert rank_chi2(codes, samples, seed=1) == rank_chi2(codes, samples, seed=1) != rank_chi2(codes, samples)


def expected_distance(variances):
    """E‖X‖ of X with independent normal dimensions."""
    return (torch.randn(20000, N, generator=torch.Generator().manual_seed(9)) * variances.sqrt()).norm(dim=1).mean()


def test_energy_skill_is_that_of_its_definition():
    open_variance = torch.full((N,), 1 + NOISE**2)
    open_variance[:N_KNOWN] = NOISE**2
    data = expected_distance(torch.full((N,), 2 * (1 + NOISE**2))) / 2
    for flow, factor in {"exact": 1, "x0.5": 0.5, "x1.5": 1.5}.items():
        to_code = expected_distance(open_variance * (1 + factor**2))
        between = expected_distance(open_variance * 2 * factor**2)
        found = energy_skill(*sampled(flow, 2000)[:2])
        assert found.value == pytest.approx(float(1 - (to_code - between / 2) / data), abs=0.01)
        assert 0.002 < found.half_width < 0.006
    assert energy_skill(*sampled("ignores z", 2000)[:2]).value == pytest.approx(0, abs=0.005)
    skills = [energy_skill(*sampled(flow, 2000)[:2]).value for flow in FLOWS]
    assert max(skills) == skills[0]  # the score is proper: nothing exceeds the exact flow


def test_intervals_hold_the_value_in_95_of_100_sets():
    value = {"spread_skill": 1.0, "residual_variance": OPEN / TOTAL, "energy_skill": 0.1292}
    counts = dict.fromkeys(value, 0)
    for seed in range(200):
        codes, samples, _ = sampled("exact", 100, seed=seed)
        measures = [measure(codes, samples) for measure in (spread_skill, residual_variance, energy_skill)]
        for name, estimate in zip(value, measures, strict=True):
            counts[name] += abs(estimate.value - value[name]) <= estimate.half_width
    assert all(0.9 <= count / 200 <= 0.985 for count in counts.values()), counts


@pytest.mark.parametrize("n", [300, 1000])
def test_a_classifier_tells_samples_from_codes_unless_the_flow_is_exact(n):
    found = {}
    for flow in FLOWS:
        codes, samples, z = sampled(flow, n)
        found[flow] = c2st(z, codes, samples[:, 0]).value
    assert found["exact"] == pytest.approx(0.5, abs=1.3 / n**0.5)  # three standard deviations
    assert found["x0.9"] > 0.56
    assert found["half of the mean"] > 0.6 and found["half of the dimensions"] > 0.7
    assert min(found["x0.2"], found["x0.5"]) > 0.95
    assert min(found["x1.5"], found["ignores z"]) > 0.84


def test_wide_codes_and_representations_are_tested_on_their_components():
    codes, samples, z = sampled("ignores z", 300)
    rotation = torch.linalg.qr(torch.randn(256, 256, generator=torch.Generator().manual_seed(0))).Q
    wide = c2st(z @ rotation[:N_KNOWN], codes @ rotation[:N], samples[:, 0] @ rotation[:N])
    assert wide.value > 0.84  # the information is in 16 and 64 of 256 dimensions


def test_both_rows_of_an_image_are_in_one_fold():
    # codes that are constant for each image: a classifier that had seen the other row would be always wrong
    z = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    assert c2st(z, z, z).value == pytest.approx(0.5, abs=0.02)


def test_few_images_have_fewer_measures():
    codes, samples, z = sampled("exact", 9)
    with pytest.raises(InvalidInput, match=r"got 9 image\(s\).*at least 10"):
        c2st(z, codes, samples[:, 0])
    names = {"spread_skill", "residual_variance"}
    for n, more in {2: set(), 9: {"energy_skill"}}.items():
        real = EncodedImages(z[:n], codes[:n], z[:n], z[:n])
        assert set(calibration(real, samples[:n], lambda codes: {})) == names | more


def test_a_factor_that_the_layer_drops_is_open_however_narrow_the_samples_are():
    def factors(codes):
        return {"factor_kept": codes[:, :N_KNOWN], "factor_dropped": codes[:, N_KNOWN:]}

    for flow in ("exact", "x0.2", "x1.5"):
        codes, samples, z = sampled(flow, 1000)
        found = calibration(EncodedImages(z, codes, z, z), samples, factors)
        assert found["factor_dropped_residual"].value == pytest.approx(1, abs=0.03)
        assert found["factor_kept_residual"].value == pytest.approx(NOISE**2 / (1 + NOISE**2), abs=0.01)
