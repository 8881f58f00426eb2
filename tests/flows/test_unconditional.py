import pytest
import torch

from invariances.flows import FactorTransformer, VectorTransformer
from invariances.flows.released import VECTOR, as_released
from tests import golden

SIZES = {"n_flow": 3, "hidden_depth": 1, "hidden_dim": 16}


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def started(flow, channels, n=64):
    flow(normal(n, channels, seed=7))
    return flow


def released(name, cls, prefix="weights."):
    flow = cls(**golden.config(name)["Transformer"]).double()
    flow.load_released(golden.load(name, prefix))
    return flow


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-9)


def test_vectors_as_released():
    flow, values = released("iin_vector", VectorTransformer), golden.load("iin_vector")
    z, logdet = flow(values["input"])
    assert_equal(z, values["output"])
    assert_equal(logdet, values["logdet"])
    assert_equal(flow.inverse(values["output"]), values["inverse"])


def test_first_batch_as_released():
    values, after = golden.load("iin_actnorm_init"), golden.load("iin_actnorm_init", "weights_after.")
    flow = VectorTransformer(**golden.config("iin_actnorm_init")["Transformer"]).double()
    flags = {name: torch.tensor(0) for name in after if name.endswith("initialized")}
    flow.load_released({**golden.load("iin_actnorm_init", "weights_before."), **flags})
    z, logdet = flow(values["input"])
    assert_equal(z, values["output"])
    assert_equal(logdet, values["logdet"])
    ours = dict(as_released(flow.state_dict(), VECTOR))
    assert sorted(ours) == sorted(after)
    for name, value in after.items():
        assert_equal(ours[name], value)


@pytest.mark.parametrize("name", ["iin_factor_chunk", "iin_factor_split"])
def test_factors_as_released(name):
    flow, values = released(name, FactorTransformer), golden.load(name)
    for i in (1, 2):
        factors, logdet = flow(values[f"input{i}"])
        assert len(factors) == 3
        for k, factor in enumerate(factors):
            assert_equal(factor, values[f"output{i}.{k}"])
        assert_equal(logdet, values[f"logdet{i}"])
        assert_equal(flow.inverse(factors), values[f"input{i}"])


def test_a_single_channel_is_refused_at_construction():
    with pytest.raises(ValueError, match="in_channel is 1; expected 2 or more"):
        VectorTransformer(1, **SIZES)
    with pytest.raises(ValueError, match="in_channel is 1; expected 2 or more"):
        FactorTransformer(1, **SIZES, n_factors=1)


@pytest.mark.parametrize("name", ["n_flow", "hidden_dim"])
def test_empty_networks_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0; expected 1 or more"):
        VectorTransformer(8, **{**SIZES, name: 0})


@pytest.mark.parametrize("channels", [2, 7, 64, 65])
@pytest.mark.parametrize("grid", [(), (1, 1), (4, 4)])
def test_any_number_of_channels_makes_a_round_trip(channels, grid):
    flow, x = started(VectorTransformer(channels, **SIZES), channels), normal(8, channels, *grid)
    z, logdet = flow(x)
    assert z.shape == x.shape and logdet.shape == (8,)
    torch.testing.assert_close(flow.inverse(z), x, atol=1e-4, rtol=0)


def test_each_position_of_a_map_is_a_vector():
    flow, x = started(VectorTransformer(6, **SIZES), 6), normal(3, 6, 2, 4)
    z, logdet = flow(x)
    parts = [flow(x[:, :, i, j]) for i in range(2) for j in range(4)]
    torch.testing.assert_close(z.flatten(2), torch.stack([part for part, _ in parts], dim=2))
    torch.testing.assert_close(logdet, sum(part for _, part in parts))


@pytest.mark.parametrize("shape", [(4, 7), (4, 9, 1, 1), (8, 4), (4, 1, 8)])
def test_codes_of_another_width_are_refused(shape):
    flow = started(VectorTransformer(8, **SIZES), 8)
    for method in (flow, flow.inverse):
        with pytest.raises(ValueError, match=r"expected floating point \(B, 8, 1, 1\).*in_channel is 8"):
            method(torch.zeros(shape))


def test_factor_config_sets_the_slices():
    flow = FactorTransformer(64, **SIZES, n_factors=3, factor_config=[22, 11, 31])
    factors, _ = flow(x := normal(16, 64, 1, 1))
    assert flow.sizes == [22, 11, 31] and [e.shape[1] for e in factors] == [22, 11, 31]
    assert torch.equal(torch.cat(factors, dim=1), flow.flow(x)[0])
    assert "sizes=[22, 11, 31]" in repr(flow)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ([22, 11, 30], "3 sizes with sum 63"),
        ([22, 11, 32], "3 sizes with sum 65"),
        ([22, 42], "2 sizes with sum 64"),
        ([64, 0, 0], "3 sizes with sum 64"),
        ([70, -6], "2 sizes with sum 64"),
        ([80, -6, -10], "3 sizes with sum 64"),
        ([], "0 sizes with sum 0"),
    ],
)
def test_factor_config_that_does_not_fit_is_refused(config, found):
    with pytest.raises(
        ValueError, match=rf"{found}; expected 3 \(n_factors\) of 1 or more with sum 64 \(in_channel\)"
    ):
        FactorTransformer(64, **SIZES, n_factors=3, factor_config=config)


@pytest.mark.parametrize("config", [[22.0, 11.0, 31.0], "22,11,31", ["22", "11", "31"]])
def test_factor_config_of_another_kind_is_refused(config):
    with pytest.raises(TypeError):
        FactorTransformer(64, **SIZES, n_factors=3, factor_config=config)


@pytest.mark.parametrize(
    ("in_channel", "n_factors", "sizes"),
    [(64, 3, [22, 22, 20]), (12, 3, [4, 4, 4]), (8, 1, [8]), (2, 2, [1, 1])],
)
def test_sizes_without_factor_config(in_channel, n_factors, sizes):
    assert FactorTransformer(in_channel, **SIZES, n_factors=n_factors).sizes == sizes


@pytest.mark.parametrize(("in_channel", "n_factors"), [(9, 4), (4, 5)])
def test_channels_that_the_rule_cannot_divide_are_refused(in_channel, n_factors):
    with pytest.raises(ValueError, match=rf"without factor_config .*expected {n_factors} \(n_factors\)"):
        FactorTransformer(in_channel, **SIZES, n_factors=n_factors)


def test_inverse_refuses_factors_of_other_sizes():
    flow = FactorTransformer(8, **SIZES, n_factors=3, factor_config=[2, 1, 5])
    factors, _ = flow(normal(16, 8))
    with pytest.raises(ValueError, match=r"have \[1, 2, 5\] channels; expected \[2, 1, 5\]"):
        flow.inverse([factors[1], factors[0], factors[2]])
    with pytest.raises(ValueError, match=r"have \[2, 6\] channels"):
        flow.inverse([factors[0], torch.cat(factors[1:], dim=1)])


def deep():
    torch.manual_seed(0)
    return started(VectorTransformer(64, n_flow=20, hidden_depth=2, hidden_dim=64), 64)


def test_deep_flows_stay_finite_with_large_scales_and_codes():
    flow = deep()
    assert flow.inverse(10 * normal(32, 64)).isfinite().all()
    for block in flow.flow:
        for network in (block.coupling.first, block.coupling.second):
            network[-1].bias.data[0] = 100  # of the log-scales
    z, logdet = flow(normal(32, 64))
    assert z.isfinite().all() and logdet.isfinite().all()
    assert flow.inverse(10 * normal(32, 64)).isfinite().all()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_deep_flows_make_a_round_trip_also_under_autocast(dtype):
    flow, x = deep(), normal(32, 64, seed=3)
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        z, _ = flow(x)
        back = flow.inverse(z)
    assert (back - x).abs().max() < 1e-3
    torch.testing.assert_close(z, flow(x)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_refused(dtype):
    flow = deep().to(dtype)
    for method in (flow, flow.inverse):
        with pytest.raises(ValueError, match=rf"weights of this flow are {dtype}.*keep them in float32"):
            method(normal(4, 64).to(dtype))


def test_samples_follow_the_generator_and_the_flow():
    flow = started(FactorTransformer(6, **SIZES, n_factors=2), 6)
    first, second = (flow.sample(100, torch.Generator().manual_seed(0)) for _ in range(2))
    assert first.shape == (100, 6, 1, 1) and torch.equal(first, second)
    z, _ = flow.flow(first)
    expected = torch.randn(100, 6, 1, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(z, expected, atol=1e-4, rtol=0)
