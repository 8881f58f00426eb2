"""What every flow, and every layer of one, has to do."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from invariances.flows import ConditionalTransformer, FactorTransformer, VectorTransformer
from invariances.flows.chain import Chain, flow_block
from invariances.flows.layers.activation import InvertibleLeakyReLU
from invariances.flows.layers.actnorm import ActNorm
from invariances.flows.layers.coupling import DoubleCoupling
from invariances.flows.layers.permutation import Permutation


@dataclass(frozen=True)
class Case:
    build: Callable[[], nn.Module]
    channels: int = 6
    condition: tuple[int, ...] | None = None  # shape of one condition

    def start(self, seed: int = 0) -> nn.Module:
        """A flow with weights of its own in float64, its ActNorms set by a batch."""
        torch.manual_seed(seed)
        flow = self.build().double()
        flow(*self.inputs(32, seed=seed + 100))
        return flow

    def inputs(self, n: int, seed: int = 1) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        shapes = [(self.channels,), *([self.condition] if self.condition else [])]
        return [torch.randn(n, *shape, generator=generator, dtype=torch.float64) for shape in shapes]


SIZES = {"hidden_depth": 1, "hidden_dim": 16}
CONDITIONAL = {"in_channels": 6, "mid_channels": 16, "hidden_depth": 1, "n_flows": 2}
VECTOR = {"conditioning_in_channels": 5, "conditioning_spatial_size": 1}
MAP = {"conditioning_in_channels": 2, "conditioning_spatial_size": 7, "embedder_down": 1}

LAYERS = {
    "actnorm": Case(lambda: ActNorm(6)),
    "activation": Case(InvertibleLeakyReLU),
    "permutation": Case(lambda: Permutation(6)),
    "coupling": Case(lambda: DoubleCoupling(6, **SIZES)),
    "coupling of 2": Case(lambda: DoubleCoupling(2, **SIZES), channels=2),
    "coupling of 7": Case(lambda: DoubleCoupling(7, **SIZES), channels=7),
    "conditional coupling": Case(lambda: DoubleCoupling(6, **SIZES, embedding_channels=3), condition=(3,)),
    "chain": Case(lambda: Chain(flow_block(6, **SIZES, activation="lrelu"), flow_block(6, **SIZES))),
}
FLOWS = {
    "vector": Case(lambda: VectorTransformer(6, n_flow=3, **SIZES)),
    "vector of 2": Case(lambda: VectorTransformer(2, n_flow=3, **SIZES), channels=2),
    "vector of 7": Case(lambda: VectorTransformer(7, n_flow=3, **SIZES), channels=7),
    "factors": Case(lambda: FactorTransformer(6, n_flow=2, **SIZES, n_factors=3)),
    "given factors": Case(lambda: FactorTransformer(6, n_flow=2, **SIZES, n_factors=2, factor_config=[1, 5])),
    "conditional": Case(lambda: ConditionalTransformer(**CONDITIONAL, **VECTOR), condition=(5,)),
    "conditional on maps": Case(lambda: ConditionalTransformer(**CONDITIONAL, **MAP), condition=(2, 7, 7)),
    "conditional, lrelu": Case(
        lambda: ConditionalTransformer(**CONDITIONAL, **VECTOR, activation="lrelu"), condition=(5,)
    ),
}


def forward(flow: nn.Module, x: Tensor, *condition: Tensor) -> tuple[Tensor, Tensor]:
    """The output as one tensor, and the log-determinant."""
    y, logdet = flow(x, *condition)
    return (torch.cat(y, dim=1) if isinstance(y, list) else y), logdet


def inverse(flow: nn.Module, y: Tensor, *condition: Tensor) -> Tensor:
    """From the output as one tensor."""
    if isinstance(flow, FactorTransformer):
        return flow.inverse(y.split(flow.sizes, dim=1))
    return flow.inverse(y, *condition)


every_case = pytest.mark.parametrize("case", [*LAYERS.values(), *FLOWS.values()], ids=[*LAYERS, *FLOWS])
every_flow = pytest.mark.parametrize("case", FLOWS.values(), ids=FLOWS)


@every_case
def test_inverse(case):
    flow, (x, *condition) = case.start(), case.inputs(5)
    y, _ = forward(flow, x, *condition)
    torch.testing.assert_close(inverse(flow, y, *condition), x, atol=1e-10, rtol=0)
    z = torch.randn_like(x)
    back, _ = forward(flow, inverse(flow, z, *condition), *condition)
    torch.testing.assert_close(back, z, atol=1e-10, rtol=0)


def jacobian(flow: nn.Module, x: Tensor, *condition: Tensor) -> Tensor:
    """∂y/∂x of a batch of one, (C, C)."""
    return torch.autograd.functional.jacobian(lambda x: forward(flow, x, *condition)[0][0], x)[:, 0]


@every_case
def test_log_determinant_is_that_of_the_jacobian(case):
    flow, inputs = case.start(), case.inputs(3)
    _, logdet = forward(flow, *inputs)
    expected = [jacobian(flow, *(tensor[i : i + 1] for tensor in inputs)) for i in range(3)]
    torch.testing.assert_close(
        logdet, torch.linalg.slogdet(torch.stack(expected)).logabsdet, atol=1e-9, rtol=0
    )


@every_case
def test_gradient_reaches_every_weight_and_input(case):
    flow, inputs = case.start(), [x.requires_grad_() for x in case.inputs(8)]
    y, logdet = forward(flow, *inputs)
    ((y * torch.randn_like(y)).sum() + logdet.sum()).backward()
    for name, tensor in [*flow.named_parameters(), *enumerate(inputs)]:
        assert tensor.grad is not None and tensor.grad.isfinite().all(), name
        assert tensor.grad.abs().max() > 0, name


@every_case
def test_evaluation_is_training_once_started(case):
    flow, inputs = case.start(), case.inputs(5)
    for trained, evaluated in zip(forward(flow.train(), *inputs), forward(flow.eval(), *inputs), strict=True):
        assert torch.equal(trained, evaluated)


@every_case
def test_saved_and_loaded_into_another_object(case):
    flow, file, (x, *condition) = case.start(), io.BytesIO(), case.inputs(5)
    torch.save(flow.state_dict(), file)
    file.seek(0)
    torch.manual_seed(99)
    other = case.build().double()
    other.load_state_dict(torch.load(file, weights_only=True))
    other_batch = [10 - 3 * tensor for tensor in case.inputs(5, seed=2)]
    for inputs in ((x, *condition), other_batch):
        for saved, loaded in zip(forward(flow, *inputs), forward(other, *inputs), strict=True):
            assert torch.equal(saved, loaded)
    assert torch.equal(inverse(flow, x, *condition), inverse(other, x, *condition))


@every_case
def test_a_batch_of_one_is_a_row_of_a_larger_batch(case):
    flow, inputs = case.start(), case.inputs(5)
    y, logdet = forward(flow, *inputs)
    row, row_logdet = forward(flow, *(tensor[2:3] for tensor in inputs))
    torch.testing.assert_close(row, y[2:3], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(row_logdet, logdet[2:3], atol=1e-12, rtol=1e-12)


@every_flow
def test_vectors_and_maps_of_one_position_are_the_same(case):
    flow, (x, *condition) = case.start(), case.inputs(5)
    y, logdet = forward(flow, x, *condition)
    y4, logdet4 = forward(flow, x[:, :, None, None], *condition)
    assert y.shape == x.shape and y4.shape == (*x.shape, 1, 1)
    assert torch.equal(y, y4[:, :, 0, 0]) and torch.equal(logdet, logdet4)
    assert torch.equal(inverse(flow, y, *condition), inverse(flow, y4, *condition)[:, :, 0, 0])


@every_flow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_output_has_the_precision_of_the_weights(case, dtype):
    flow, inputs = case.start().float(), [x.to(dtype) for x in case.inputs(5)]
    y, logdet = forward(flow, *inputs)
    assert y.dtype == logdet.dtype == torch.float32
    expected, _ = forward(flow.double(), *(x.double() for x in inputs))
    torch.testing.assert_close(y.double(), expected, atol=1e-4, rtol=1e-4)
