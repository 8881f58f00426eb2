import copy
import math
import warnings

import pytest
import torch
from torch import distributed, multiprocessing, nn

from invariances.flows import ConditionalTransformer, FactorTransformer, VectorTransformer
from invariances.flows.layers.actnorm import ActNorm, ActNormLayer, register_actnorms

SIZES = {"n_flow": 4, "hidden_depth": 1, "hidden_dim": 16}


def normal(*shape, seed=0, mean=0.0, std=1.0):
    return mean + std * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flags(model):
    return [bool(layer.initialized) for layer in model.modules() if isinstance(layer, ActNorm)]


def state_of(model):
    return copy.deepcopy(model.state_dict())


def assert_same_state(model, state):
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_first_batch_gets_mean_0_and_deviation_1():
    norm, x = ActNorm(3).double(), normal(40, 3, 5, 2, mean=4, std=3).double()
    y, logdet = norm(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(3).double(), atol=1e-6, rtol=0)
    expected = -10 * x.std((0, 2, 3)).log().sum()  # of every position
    torch.testing.assert_close(logdet, expected.expand(40), atol=1e-4, rtol=0)


def test_later_batches_change_nothing():
    norm = ActNorm(3)
    norm(normal(40, 3))
    state = state_of(norm)
    norm(normal(40, 3, mean=10))
    assert_same_state(norm, state)


def test_saved_flow_does_not_start_over():
    torch.manual_seed(0)
    flow = FactorTransformer(8, **SIZES, n_factors=2)
    flow(normal(64, 8, mean=3, std=5))
    torch.manual_seed(1)
    other = FactorTransformer(8, **SIZES, n_factors=2)
    assert sum(name.endswith(".initialized") for name in flow.state_dict()) == 4
    other.load_state_dict(flow.state_dict())
    x = normal(64, 8, mean=-10)
    (e, logdet), (other_e, other_logdet) = flow(x), other(x)
    assert torch.equal(torch.cat(e, 1), torch.cat(other_e, 1)) and torch.equal(logdet, other_logdet)


@pytest.mark.parametrize("wrap", [lambda flow: flow, lambda flow: nn.ModuleDict({"model": flow})])
def test_a_file_without_flags_counts_as_initialized_with_one_warning(wrap):
    flow, other = FactorTransformer(8, **SIZES, n_factors=2), FactorTransformer(8, **SIZES, n_factors=2)
    flow(normal(64, 8))
    state = {name: value for name, value in wrap(flow).state_dict().items() if "initialized" not in name}
    n_entries = len(state)
    with pytest.warns(UserWarning, match="lack 4 flags of ActNorm") as record:
        wrap(other).load_state_dict(state)
    assert len(record) == 1 and len(state) == n_entries
    x = normal(64, 8, mean=-10)
    assert torch.equal(torch.cat(flow(x)[0], 1), torch.cat(other(x)[0], 1))


def test_weights_that_are_absent_altogether_are_no_old_file():
    flow = VectorTransformer(8, **SIZES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match=r"flow\.0\.norm\.initialized"):
            flow.load_state_dict({})


def test_loading_a_fresh_state_resets_the_flag():
    norm = ActNorm(3)
    fresh = state_of(norm)
    norm(normal(40, 3, mean=5))
    norm.load_state_dict(fresh)
    y, _ = norm(normal(40, 3, mean=-7))
    assert y.mean().abs() < 1e-5


@pytest.mark.parametrize("value", [0.0, 0.1, 0.25, -1e4])
def test_a_constant_channel_is_centred_and_not_scaled(value):
    norm, x = ActNorm(3), normal(8, 3, 4, 4)
    x[:, 1] = value
    with pytest.warns(UserWarning, match=r"ActNorm: channels \[1\] are constant"):
        y, logdet = norm(x)
    assert norm.scale[0, 1] == 1
    expected = -16 * (x[:, 0].std().log() + x[:, 2].std().log())
    torch.testing.assert_close(logdet, expected.expand(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(norm.inverse(y), x, atol=1e-4, rtol=1e-6)
    assert y[:, 1].abs().max() < 1e-2


def test_a_channel_that_hardly_varies_is_measured():
    x = 1 + 1e-3 * normal(64, 1)
    norm = ActNorm(1)
    norm(x)
    assert math.isclose(norm.scale.item(), 1 / x.std().item(), rel_tol=1e-2)


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (1, 4), (0, 4)])
def test_one_value_a_channel_is_refused_and_leaves_no_trace(shape):
    norm = ActNorm(4)
    state = state_of(norm)
    with pytest.raises(ValueError, match="at least 2 values per channel"):
        norm(torch.ones(shape))
    assert_same_state(norm, state)
    y, _ = norm(normal(64, 4, mean=3))
    assert norm.initialized and y.mean().abs() < 1e-5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused_by_layer_and_channel(value):
    norm, x = ActNorm(4), normal(8, 4)
    x[3, 2] = value
    with pytest.raises(ValueError, match=r"ActNorm: channels \[2\]"):
        norm(x)
    assert not norm.initialized and torch.equal(norm.scale, torch.ones(1, 4, 1, 1))


@pytest.mark.parametrize("training", [True, False])
def test_inverse_before_the_start_is_refused(training):
    flow = VectorTransformer(8, **SIZES).train(training)
    state = state_of(flow)
    with pytest.raises(
        ValueError, match=r"flow\.3\.norm is not initialised: run a batch .*load a checkpoint"
    ):
        flow.inverse(normal(16, 8))
    assert_same_state(flow, state)


def test_evaluation_before_the_start_is_refused():
    flow = VectorTransformer(8, **SIZES).eval()
    with pytest.raises(ValueError, match=r"flow\.0\.norm is not initialised"):
        flow(normal(16, 8))
    assert not any(flags(flow))


def conditional():
    return ConditionalTransformer(
        in_channels=4,
        mid_channels=8,
        hidden_depth=0,
        n_flows=2,
        conditioning_in_channels=3,
        conditioning_spatial_size=8,
        embedder_down=2,
    )


def test_a_batch_that_fails_in_a_late_layer_starts_none():
    flow = conditional()
    state = state_of(flow)
    with pytest.raises(ValueError, match=r"flow\.0\.norm.*at least 2 values"):
        flow(normal(1, 4), normal(1, 3, 8, 8))  # the embedder has 16 values per channel, the flow one
    assert_same_state(flow, state)
    with pytest.raises(ValueError, match="not initialised"):
        flow.sample(normal(4, 3, 8, 8), n=2)
    assert_same_state(flow, state)
    v, _ = flow(normal(32, 4), normal(32, 3, 8, 8))
    assert all(flags(flow)) and v.isfinite().all()


def test_layer_form_gives_the_output_alone_and_can_be_registered():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), ActNormLayer(2))
    register_actnorms(network)
    with pytest.raises(ValueError, match=r"^1: the first training batch"):
        network(torch.ones(1, 1, 1, 1))
    y = network(normal(5, 1, 3, 3))
    torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(2))


def test_a_copy_starts_by_itself():
    norm = ActNorm(2)
    other = copy.deepcopy(norm)
    norm(normal(9, 2))
    assert norm.initialized and not other.initialized and not other.is_initialized


def measure_half(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    norm = ActNorm(3)
    norm(normal(10, 3, mean=2, std=3)[:3] if rank == 0 else normal(10, 3, mean=2, std=3)[3:])
    torch.save(norm.state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_all_processes_start_with_the_statistics_of_all(tmp_path):
    multiprocessing.spawn(measure_half, (tmp_path,), nprocs=2)
    whole = ActNorm(3)
    whole(normal(10, 3, mean=2, std=3))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), dict(whole.state_dict()))


def test_what_hardly_varies_is_told():
    x = 2 + 1e-4 * normal(40, 3)
    with pytest.warns(UserWarning, match=r"the same for all images of the first batch, within 0.001 of its size"):
        y = ActNormLayer(3)(x)
    torch.testing.assert_close(y.std(0), torch.ones(3), atol=2e-2, rtol=0)


def test_one_channel_that_varies_is_enough():
    x = 2 + 1e-4 * normal(40, 3)
    x[:, 1] = normal(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ActNormLayer(3)(x)
