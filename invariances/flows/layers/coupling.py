"""Affine couplings and the networks that compute their scales and shifts."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from invariances.flows.layers.base import Bijection

SLOPE = 0.01  # of LeakyReLU


class TwinLinear(nn.Module):
    """Two linear layers of equal shape as one batched product: (2, B, in) -> (2, B, out).

    The weight is (2, in, out), the memory layout in which products and gradients are fastest. Weight and bias are
    initialised as in `torch.nn.Linear`: U(−1/√in, 1/√in).

    >>> TwinLinear(3, 4)(torch.rand(2, 5, 3)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = in_features**-0.5
        self.weight = nn.Parameter(torch.empty(2, in_features, out_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2, 1, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Compute y_i = x_i W_i + b_i for i = 0, 1."""
        return torch.baddbmm(self.bias, x, self.weight)

    def extra_repr(self) -> str:
        """The number of inputs and outputs."""
        return "2 × ({} -> {})".format(*self.weight.shape[1:])


class TwinNetwork(nn.Sequential):
    """Two fully connected networks of equal shape that share their input: (B, in_features) -> 2 × (B, out_features).

    Each is Linear, LeakyReLU 0.01, `hidden_depth` × (Linear, LeakyReLU 0.01), Linear.

    Args:
        in_features: size of the input.
        hidden_dim: width of the hidden layers.
        hidden_depth: number of hidden layers after the first one, 0 or more.
        out_features: size of each output.

    >>> scale, shift = TwinNetwork(3, hidden_dim=8, hidden_depth=2, out_features=4)(torch.rand(5, 3))
    >>> scale.shape, shift.shape
    (torch.Size([5, 4]), torch.Size([5, 4]))
    """

    def __init__(self, in_features: int, hidden_dim: int, hidden_depth: int, out_features: int) -> None:
        first, *hidden = pairwise([in_features, *[hidden_dim] * (hidden_depth + 1)])
        layers: list[nn.Module] = [TwinLinear(*first)]
        for sizes in hidden:
            layers += [nn.LeakyReLU(SLOPE), TwinLinear(*sizes)]
        super().__init__(*layers, nn.LeakyReLU(SLOPE), TwinLinear(hidden_dim, out_features))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Apply both networks to x."""
        first, second = twin_activations(x, self.weights())[-1]
        return first, second

    def weights(self) -> list[Tensor]:
        """Weight and bias of each layer in turn."""
        return [tensor for layer in list(self)[::2] for tensor in (layer.weight, layer.bias)]


def twin_activations(x: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """The input of each layer of a `TwinNetwork`, (2, B, in), and the output of the last, (2, B, out_features)."""
    activations = [x.expand(2, *x.shape)]
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        if len(activations) > 1:
            functional.leaky_relu_(activations[-1], SLOPE)
        activations.append(torch.baddbmm(bias, activations[-1], weight))
    return activations


class DoubleCoupling(Bijection):
    """Two affine couplings: each half of the channels is scaled and shifted by networks of the other half.

        x = (a, b)    b' = b · exp(s₁(a)) + t₁(a)    a' = a · exp(s₂(b')) + t₂(b')    y = (b', a')

    Each log-scale s ends in tanh, so it lies in (−1, 1): deep flows stay finite and can be inverted. If the
    number of channels is odd, a has one more than b. The embedding, if any, is concatenated to the input of all
    four networks. Gradients are of first order, see `AffineCoupling`.

    Args:
        channels: C of the vectors (B, C), 2 or more.
        hidden_dim, hidden_depth: see `TwinNetwork`.
        embedding_channels: E of the embedding (B, E); 0 for none.

    Source: Dinh, Sohl-Dickstein and Bengio 2017, Real NVP, section 3.

    >>> coupling = DoubleCoupling(4, hidden_dim=16, hidden_depth=1)
    >>> x = torch.rand(2, 4)
    >>> y, logdet = coupling(x)
    >>> torch.allclose(coupling.inverse(y), x, atol=1e-6), logdet.shape
    (True, torch.Size([2]))
    """

    def __init__(
        self, channels: int, hidden_dim: int, hidden_depth: int, embedding_channels: int = 0
    ) -> None:
        super().__init__()
        n_b = channels // 2
        n_a = channels - n_b
        self.sizes = (n_a, n_b)
        self.first = TwinNetwork(n_a + embedding_channels, hidden_dim, hidden_depth, n_b)
        self.second = TwinNetwork(n_b + embedding_channels, hidden_dim, hidden_depth, n_a)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute (b', a'), (B, C), and the sum of all log-scales, (B,)."""
        a, b = x.split(self.sizes, dim=1)
        b, logdet_b = AffineCoupling.apply(b, _with_embedding(a, embedding), *self.first.weights())
        a, logdet_a = AffineCoupling.apply(a, _with_embedding(b, embedding), *self.second.weights())
        return torch.cat([b, a], dim=1), logdet_b + logdet_a

    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Invert the second coupling, then the first."""
        b, a = y.split(self.sizes[::-1], dim=1)
        a = _uncouple(a, *self.second(_with_embedding(b, embedding)))
        b = _uncouple(b, *self.first(_with_embedding(a, embedding)))
        return torch.cat([a, b], dim=1)

    def extra_repr(self) -> str:
        """The number of channels of a and b."""
        return "{} | {}".format(*self.sizes)


class AffineCoupling(torch.autograd.Function):
    """y = x · exp(s) + t and Σ s, for the scale s and shift t that a `TwinNetwork` computes of `given`.

    One node of the graph in place of some twenty. The backward pass has the products that it needs and few passes over
    the activations, which are kept once, after each LeakyReLU. It cannot be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, given: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        """Map x, (B, C), given (B, in_features), to y, (B, C), and the log-determinant, (B,)."""
        activations = twin_activations(given, weights)
        scale, shift = activations.pop()
        scale = scale.tanh()
        factor = scale.exp()
        ctx.save_for_backward(x, scale, factor, *activations, *weights[::2])
        return torch.addcmul(shift, x, factor), scale.sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_logdet: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, given, and each weight and bias."""
        x, scale, factor, *saved = ctx.saved_tensors
        n_layers = len(saved) // 2
        activations, weights = saved[:n_layers], saved[n_layers:]
        grad_x = grad_y * factor
        grad_scale = torch.addcmul(grad_logdet[:, None], grad_x, x)
        grad = torch.stack([torch.ops.aten.tanh_backward(grad_scale, scale), grad_y])
        grads: list[Tensor] = []
        for layer in reversed(range(n_layers)):
            grads = [torch.bmm(activations[layer].mT, grad), grad.sum(1, keepdim=True), *grads]
            grad = torch.bmm(grad, weights[layer].mT)
            if layer:
                torch.ops.aten.leaky_relu_backward.grad_input(
                    grad, activations[layer], SLOPE, True, grad_input=grad
                )
        return grad_x, grad.sum(0), *grads


def _with_embedding(half: Tensor, embedding: Tensor | None) -> Tensor:
    return half if embedding is None else torch.cat([half, embedding], dim=1)


def _uncouple(y: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (y - shift) * scale.tanh().neg().exp()
