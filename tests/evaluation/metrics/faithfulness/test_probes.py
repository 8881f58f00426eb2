import pytest
import torch

from invariances.evaluation.metrics.faithfulness.probes import independence

N = 64


def world(kind, n, seed):
    """v ~ N(0, 1) of n images, and classes that it holds in a known way, or does not."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(n, N, generator=generator)
    rare = (torch.rand(n, generator=generator) < 0.2).long()
    even = torch.randint(2, (n,), generator=generator)
    if kind == "none, 80/20":
        return v, rare
    if kind == "none, 10 classes":
        return v, torch.randint(10, (n,), generator=generator)
    if kind == "mean, 80/20":  # one of 64 dimensions moves by one standard deviation
        v[:, 0] += rare
        return v, rare
    v *= 1 + 0.2 * even[:, None]  # "variance"
    return v, even


def probed(kind, n=1000, seed=0):
    v, classes = world(kind, n, seed)
    accuracies, chance = independence(v[..., None, None], v[..., None, None], classes)
    return {name: each.value for name, each in accuracies.items()} | chance


@pytest.mark.parametrize(("kind", "expected"), [("none, 80/20", 1 / 2), ("none, 10 classes", 1 / 10)])
def test_chance_is_one_over_the_number_of_classes(kind, expected):
    runs = [probed(kind, 300, seed) for seed in range(20)]
    for name in ("probe_accuracy", "probe_accuracy_nonlinear", "probe_chance"):
        mean = sum(run[name] for run in runs) / len(runs)
        assert mean == pytest.approx(expected, abs=0.03), name
    for suffix in ("", "_nonlinear"):  # 5 % of them by chance
        above = sum(run[f"probe_accuracy{suffix}"] > run[f"probe_chance{suffix}_95"] for run in runs)
        assert above <= 4


def test_a_leak_of_one_standard_deviation_is_found_with_classes_of_80_and_20_percent():
    for seed in range(3):
        found = probed("mean, 80/20", seed=seed)
        assert found["probe_accuracy"] > found["probe_chance_95"] + 0.05
        # the best of all probes has Φ(½) = .69
        assert found["probe_accuracy"] == pytest.approx(0.66, abs=0.05)


def test_a_leak_of_the_variance_is_found_by_the_probe_that_is_not_linear():
    for seed in range(3):
        found = probed("variance", seed=seed)
        assert found["probe_accuracy"] == pytest.approx(0.5, abs=0.06)
        assert found["probe_accuracy_nonlinear"] > 0.75 > found["probe_chance_nonlinear_95"]


def test_a_constant_dimension_and_unequal_scales_change_nothing():
    v, classes = world("mean, 80/20", 300, 0)
    scaled = v * torch.logspace(-3, 3, N)
    scaled[:, 1] = 1.0
    v[:, 1] = 1.0
    one, other = (independence(each[..., None, None], each[..., None, None], classes)[0] for each in (v, scaled))
    for name in one:
        assert one[name].value == pytest.approx(other[name].value, abs=0.02)


def test_one_class_has_no_probe():
    v = torch.randn(20, N, 1, 1)
    assert independence(v, v, torch.zeros(20, dtype=torch.long)) == ({}, {})
