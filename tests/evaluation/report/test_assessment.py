"""The line on a layer tells flows with known faults apart, and trusts an exact one."""

import pytest

from invariances.evaluation.metrics.faithfulness.calibration import calibration, rank_chi2
from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages
from invariances.evaluation.report.assessment import THRESHOLDS, assess
from tests.evaluation.metrics.faithfulness.toy_flows import FLOWS, OPEN, TOTAL, sampled

EXPECTED = {
    "exact": ["trust"],
    "x0.2": ["over-confident"],
    "x0.5": ["over-confident"],
    "x0.9": ["over-confident"],
    "x1.5": ["over-dispersed"],
    "ignores z": ["ignores the layer"],
    "half of the dimensions": ["does not use all of the layer"],
    "half of the mean": ["over-dispersed", "does not use all of the layer"],
}


def measured(flow, n, seed=0):
    """The metrics of a flow of the toy world, as in `metrics.json`."""
    codes, samples, z = sampled(flow, n, seed=seed)
    estimates = calibration(EncodedImages(z, codes, z, z), samples, lambda codes: {})
    numbers = {name: estimate.value for name, estimate in estimates.items()}
    numbers |= {f"{name}_ci": estimate.half_width for name, estimate in estimates.items()}
    claim = samples.var(dim=1).mean() / codes.var(dim=0).mean()
    return numbers | {"rank_chi2": rank_chi2(codes, samples), "variance_explained_by_v": claim.item()}


@pytest.mark.parametrize("flow", FLOWS)
def test_flows_with_known_faults_are_told_apart(flow):
    found = assess(measured(flow, 1000))
    parts = found.text.split("; ")
    assert [part.startswith(start) for part, start in zip(parts, EXPECTED[flow], strict=True)] == [True] * len(parts)
    assert found.trusted == (flow == "exact")


@pytest.mark.parametrize(("n", "n_sets"), [(300, 8), (1000, 3)])
def test_an_exact_flow_is_trusted(n, n_sets):
    assert [assess(measured("exact", n, seed)).findings for seed in range(n_sets)] == [()] * n_sets


@pytest.mark.parametrize("flow", ["x0.2", "x0.5", "x0.9"])
def test_an_over_confident_flow_comes_with_the_variance_that_was_measured(flow):
    numbers = measured(flow, 1000)
    claim = OPEN / TOTAL * float(flow[1:]) ** 2
    assert numbers["variance_explained_by_v"] == pytest.approx(claim, abs=0.02)
    assert numbers["residual_variance"] == pytest.approx(OPEN / TOTAL, abs=0.02)
    read, claimed = (f"{numbers[name]:.3f}" for name in ("residual_variance", "variance_explained_by_v"))
    assert f"read the variance of the codes as at most {read} (the flow claims {claimed})" in assess(numbers).text


@pytest.mark.parametrize(("mlp", "read"), [(0.117, "0.117"), (0.15, "0.136"), (None, "0.136")])
def test_the_smaller_error_of_flow_and_mlp_bounds_what_the_layer_leaves_open(mlp, read):
    numbers = {"spread_skill": 0.906, "residual_variance": 0.136, "variance_explained_by_v": 0.109}
    text = assess(numbers | {"residual_variance_mlp": mlp}).text
    assert text == f"over-confident: read the variance of the codes as at most {read} (the flow claims 0.109)"


def exact(**changes):
    numbers = {"spread_skill": 1.0, "spread_skill_ci": 0.01, "half_v_squared": 0.5, "rank_chi2": 1.0}
    numbers |= {"c2st": 0.5, "c2st_ci": 0.04, "energy_skill": 0.2, "residual_variance": 0.6}
    return numbers | changes


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, "trust"),
        ({"spread_skill": 0.93, "spread_skill_ci": 0.1}, "trust"),  # few images: 1 is within the interval
        ({"c2st": 0.62, "c2st_ci": 0.15}, "trust"),
        ({"c2st": None, "half_v_squared": None}, "trust"),
        ({"half_v_squared": 1.04}, "over-confident where the variance is small"),
        ({"rank_chi2": 5.0}, "calibrated in total, but not in each dimension"),
        ({"rank_chi2": 5.0, "spread_skill": 0.8}, "over-confident: read"),
        ({"energy_skill": 0.0, "residual_variance": 1.0}, "the layer tells nothing about the code that"),
        ({"energy_skill": 0.0, "residual_variance": 1.0, "c2st": 0.9}, "ignores the layer"),
        ({"energy_skill": -0.1, "residual_variance": 1.0, "c2st": 0.9, "spread_skill": 0.5}, "ignores the layer"),
        ({"spread_skill": None}, "not assessed"),
        ({"residual_variance_mlp": 0.55}, "trust"),
        ({"residual_variance_mlp": 0.4, "residual_variance_mlp_ci": 0.2}, "trust"),
        ({"residual_variance_mlp": 0.2}, "misses what the layer tells: read the variance of the codes as at most 0.2"),
    ],
)
def test_each_number_has_its_finding(changes, start):
    assert assess(exact(**changes)).text.startswith(start)


COSINES = {"cosine": 0.955, "cosine_ci": 0.005, "cosine_autoencoder": 0.966, "cosine_autoencoder_ci": 0.006}


def test_samples_less_like_their_input_than_the_nearest_other_image_are_a_finding():
    found = assess(exact(**COSINES, cosine_nearest=0.985, cosine_nearest_ci=0.003))
    assert found.findings == (
        "the flow is calibrated, but to the layer, samples are less like their input than the nearest other image is "
        "(cosine 0.955, 0.985; nor is the reconstruction as like it, 0.966)",
    )
    assert assess(exact(**COSINES, cosine_nearest=0.96, cosine_nearest_ci=0.01)).trusted  # by chance


@pytest.mark.parametrize(("cosine", "how"), [(0.955, "less like their input than"), (0.96, "as like their input as")])
def test_the_likeness_of_samples_is_told_next_to_that_of_reconstructions(cosine, how):
    found = assess(exact(**COSINES | {"cosine": cosine}))
    assert found.trusted
    assert found.text.endswith(f"; to the layer, samples are {how} its reconstruction is (cosine {cosine:.3f}, 0.966)")


def test_without_calibration_nothing_is_trusted():
    assert not assess({"cosine": 1.0}).trusted
    assert assess({"spread_skill": 0.5}).text == (
        "over-confident: read the variance of the codes as at most ? (the flow claims ?)"
    )


def test_each_threshold_has_a_reason():
    assert all(reason for _, reason in THRESHOLDS.values())
