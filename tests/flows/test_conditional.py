import math

import pytest
import torch

from invariances.flows import ConditionalTransformer
from invariances.flows.layers.activation import InvertibleLeakyReLU
from tests import golden

SIZES = {"in_channels": 8, "mid_channels": 16, "hidden_depth": 1, "n_flows": 2}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def vectors(**changes):
    arguments = {**SIZES, "conditioning_in_channels": 10, "conditioning_spatial_size": 1, **changes}
    flow = ConditionalTransformer(**arguments)
    flow(normal(64, arguments["in_channels"]), normal(64, 10, seed=1))
    return flow


def released(name):
    flow = ConditionalTransformer(**golden.config(name)["Transformer"]).double()
    integers = {
        key: value for key, value in golden.load(name, "weights.").items() if not value.is_floating_point()
    }
    flow.load_released(golden.filled(golden.entry(name)["shapes"], ints=integers))
    return flow, golden.load(name)


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["cinn_dense", "cinn_conv", "cinn_lrelu"])
def test_as_released(name):
    flow, values = released(name)
    assert_equal(flow.embed(values["conditioning"])[:, :, 0, 0], values["embedding"])
    v, logdet = flow(values["input"], values["conditioning"])
    assert_equal(v, values["output"])
    assert_equal(flow.inverse(values["output"], values["conditioning"]), values["inverse"])
    if name != "cinn_lrelu":
        assert_equal(logdet, values["logdet"])


def test_the_released_log_determinant_lacks_the_activation():
    flow, values = released("cinn_lrelu")
    n_negative = torch.zeros(len(values["input"]), dtype=torch.float64)

    def count(layer, inputs, output):
        n_negative.add_((inputs[0] < 0).sum(1))

    for layer in flow.modules():
        if isinstance(layer, InvertibleLeakyReLU):
            layer.register_forward_hook(count)
    _, logdet = flow(values["input"], values["conditioning"])
    assert n_negative.min() > 0
    assert_equal(logdet, values["logdet"] + math.log(0.9) * n_negative)


def test_stored_weights_follow_the_fill_rule():
    stored = golden.load("cinn_dense", "weights.")
    filled = golden.filled(golden.entry("cinn_dense")["shapes"], ints=stored)
    assert all(torch.equal(filled[name], value) for name, value in stored.items())


@pytest.mark.parametrize("method", ["forward", "inverse"])
def test_conditions_come_with_or_without_ones(method):
    flow, code, z = vectors(), normal(16, 8, 1, 1), normal(16, 10, seed=2)
    flat, full = (getattr(flow, method)(code, condition) for condition in (z, z[:, :, None, None]))
    for a, b in zip(flat, full, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "z",
    [
        torch.zeros(16, 256, 6, 6),
        torch.zeros(8, 10),
        torch.zeros(1, 10),
        torch.zeros(16, 10, 2, 2),
        torch.zeros(16, 10, 1),
        torch.zeros(16, dtype=torch.int64),
        torch.zeros(16, 10, dtype=torch.int64),
        None,
    ],
    ids=str,
)
def test_conditions_of_another_shape_are_refused(z):
    code = normal(16, 8, 1, 1)
    fresh = ConditionalTransformer(**SIZES, conditioning_in_channels=10, conditioning_spatial_size=1)
    found = "missing" if z is None else rf"{z.dtype} of shape \({', '.join(map(str, z.shape))}"
    expected = r"expected floating point \(16, 10, 1, 1\) or \(16, 10\).*"
    keys = "conditioning_in_channels 10, conditioning_spatial_size 1"
    for flow in (fresh, vectors()):
        state = {name: value.clone() for name, value in flow.state_dict().items()}
        for method in (flow, flow.inverse):
            with pytest.raises(ValueError, match=f"{found}.*{expected}{keys}"):
                method(code, z)
        assert all(torch.equal(value, state[name]) for name, value in flow.state_dict().items())


def test_maps_of_another_size_are_refused():
    flow = ConditionalTransformer(
        **SIZES, conditioning_in_channels=3, conditioning_spatial_size=7, embedder_down=1
    )
    with pytest.raises(ValueError, match=r"\(4, 3, 8, 8\); expected floating point \(4, 3, 7, 7\)"):
        flow(normal(4, 8), normal(4, 3, 8, 8))
    with pytest.raises(ValueError, match=r"\(4, 3\); expected floating point \(4, 3, 7, 7\)"):
        flow(normal(4, 8), normal(4, 3))


@pytest.mark.parametrize("shape", [(4, 7), (4, 8, 2, 2), (4, 8, 2)])
def test_codes_of_another_shape_are_refused(shape):
    flow = vectors()
    for method in (flow, flow.inverse):
        with pytest.raises(ValueError, match=r"expected floating point \(B, 8, 1, 1\).*in_channels is 8"):
            method(normal(*shape), normal(4, 10))


def test_an_embedding_stands_in_place_of_the_condition():
    flow, code, z = vectors(), normal(16, 8), normal(16, 10, seed=2)
    embedding = flow.embed(z)
    assert embedding.shape == (16, 8, 1, 1)
    v, _ = flow(code, z)
    assert torch.equal(v, flow(code, embedding=embedding)[0])
    assert torch.equal(flow.inverse(v, z), flow.inverse(v, embedding=embedding))
    for wrong in (
        {"z": z, "embedding": embedding},
        {"embedding": embedding[:1]},
        {"embedding": embedding.flatten(1)},
    ):
        with pytest.raises(ValueError, match=r"embedding has shape .*expected \(16, 8, 1, 1\)"):
            flow(code, **wrong)


def test_samples_are_inverses_of_draws_for_each_condition():
    flow, z = vectors(), normal(3, 10, seed=2)
    codes = flow.sample(z, n=5, generator=torch.Generator().manual_seed(4))
    assert codes.shape == (3, 5, 8, 1, 1)
    draws = torch.randn(15, 8, 1, 1, generator=torch.Generator().manual_seed(4)).view(3, 5, 8)
    for i in range(3):
        for j in range(5):
            one = flow.inverse(draws[i, j][None, :], z[i : i + 1])
            torch.testing.assert_close(codes[i, j, :, 0, 0], one[0], atol=1e-5, rtol=1e-5)


def test_samples_embed_the_condition_once_and_make_one_batch():
    flow, calls = vectors(), []
    flow.embedder.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    flow.flow[0].coupling.first.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    flow.sample(normal(3, 10), n=8)
    assert calls == [3, 24]


def test_gradients_pass_from_samples_to_the_condition():
    z = normal(3, 10).requires_grad_()
    vectors().sample(z, n=2).sum().backward()
    assert (z.grad != 0).any()


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="n is 0; expected 1 or more"):
        vectors().sample(normal(3, 10), n=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 1}, "in_channels is 1; expected 2 or more"),
        ({"mid_channels": 0}, "mid_channels is 0; expected 1 or more"),
        ({"n_flows": 0}, "n_flows is 0; expected 1 or more"),
        ({"conditioning_depth": 1}, "conditioning_depth is 1; expected 2 or more"),
        ({"conditioning_spatial_size": 0}, "conditioning_spatial_size is 0; expected 1 or more"),
        ({"conditioning_spatial_size": 13}, "embedder_down is None; expected 0 to 3 halvings.* is 13"),
        ({"conditioning_spatial_size": 13, "embedder_down": 4}, "embedder_down is 4; expected 0 to 3"),
        ({"conditioning_spatial_size": 13, "embedder_down": -1}, "embedder_down is -1; expected 0 to 3"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ConditionalTransformer(
            **{**SIZES, "conditioning_in_channels": 10, "conditioning_spatial_size": 1, **changes}
        )


@pytest.mark.parametrize(("name", "value"), [("activation", "relu"), ("conditioning_option", "parallel")])
def test_unknown_options_are_refused(name, value):
    with pytest.raises((ValueError, TypeError)):
        vectors(**{name: value})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_deep_flows_make_a_round_trip_under_autocast(dtype):
    torch.manual_seed(0)
    flow, code, z = vectors(in_channels=64, n_flows=20), normal(32, 64), normal(32, 10, seed=2)
    with torch.autocast("cpu", dtype=dtype):
        v, logdet = flow(code, z.to(dtype))
        back = flow.inverse(v, z.to(dtype))
    assert v.dtype == logdet.dtype == torch.float32
    assert (back - code).abs().max() < 1e-3


def test_loaded_in_another_object_samples_go_back_to_their_draws():
    torch.manual_seed(0)
    flow = vectors(in_channels=64, n_flows=12)
    v, _ = flow(code := normal(16, 64), z := normal(16, 10, seed=2))
    torch.manual_seed(1)
    other = ConditionalTransformer(
        **{**SIZES, "in_channels": 64, "n_flows": 12},
        conditioning_in_channels=10,
        conditioning_spatial_size=1,
    )
    other.load_state_dict(flow.state_dict())
    assert torch.equal(other(code, z)[0], v)
    assert (other.inverse(v, z) - code).abs().max() < 1e-3
