"""Affine couplings and the networks that compute their scales and shifts."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from invariances.flows.layers.base import Bijection


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
            layers += [nn.LeakyReLU(0.01, inplace=True), TwinLinear(*sizes)]
        super().__init__(*layers, nn.LeakyReLU(0.01, inplace=True), TwinLinear(hidden_dim, out_features))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Apply both networks to x."""
        first, second = super().forward(x.expand(2, *x.shape))
        return first, second


class DoubleCoupling(Bijection):
    """Two affine couplings: each half of the channels is scaled and shifted by networks of the other half.

        x = (a, b)    b' = b · exp(s₁(a)) + t₁(a)    a' = a · exp(s₂(b')) + t₂(b')    y = (b', a')

    Each log-scale s ends in tanh, so it lies in (−1, 1): deep flows stay finite and can be inverted. If the
    number of channels is odd, a has one more than b. The embedding, if any, is concatenated to the input of all
    four networks.

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
        b, logdet_b = _couple(b, *self.first(_with_embedding(a, embedding)))
        a, logdet_a = _couple(a, *self.second(_with_embedding(b, embedding)))
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


def _with_embedding(half: Tensor, embedding: Tensor | None) -> Tensor:
    return half if embedding is None else torch.cat([half, embedding], dim=1)


def _couple(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    scale = scale.tanh()
    return torch.addcmul(shift, x, scale.exp()), scale.sum(1)


def _uncouple(y: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (y - shift) * scale.tanh().neg().exp()
