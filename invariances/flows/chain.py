"""Compositions of bijections, and the one that all flows here are built of."""

from collections import OrderedDict
from typing import Literal, cast

from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.flows.layers.activation import InvertibleLeakyReLU
from invariances.flows.layers.actnorm import ActNorm
from invariances.flows.layers.base import Bijection
from invariances.flows.layers.coupling import DoubleCoupling
from invariances.flows.layers.permutation import Permutation

Activation = Literal["none", "lrelu"]


class Chain(nn.Sequential, Bijection):
    """Composition of bijections; their log-determinants add up.

    >>> import torch
    >>> from invariances.flows.layers.permutation import Permutation
    >>> chain = Chain(Permutation(4), Permutation(4))
    >>> x = torch.rand(2, 4)
    >>> y, logdet = chain(x)
    >>> torch.equal(chain.inverse(y), x), logdet
    (True, tensor([0., 0.]))
    """

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the layers from first to last: x, (B, C), to y, (B, C), and log|det ∂y/∂x|, (B,)."""
        logdet = x.new_zeros(len(x))
        for layer in self:
            x, term = layer(x, embedding)
            logdet = logdet + term
        return x, logdet

    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Invert the layers from last to first: y, (B, C), to x, (B, C)."""
        for layer in reversed(self):
            y = cast(Bijection, layer).inverse(y, embedding)
        return y


def flow_block(
    channels: int,
    hidden_dim: int,
    hidden_depth: int,
    embedding_channels: int = 0,
    activation: Activation = "none",
) -> Chain:
    """One block of a flow: ActNorm, the activation if any, two affine couplings, a fixed permutation.

    Args:
        channels: C of the vectors (B, C).
        hidden_dim, hidden_depth, embedding_channels: see `DoubleCoupling`.
        activation: "none", or "lrelu" for `InvertibleLeakyReLU`.

    Raises:
        InvalidInput: an activation of another name.

    >>> [name for name, _ in flow_block(8, hidden_dim=16, hidden_depth=1).named_children()]
    ['norm', 'coupling', 'permutation']
    """
    layers: dict[str, nn.Module] = {"norm": ActNorm(channels)}
    if activation == "lrelu":
        layers["activation"] = InvertibleLeakyReLU()
    elif activation != "none":
        raise InvalidInput(f"activation is {activation!r}; expected none or lrelu")
    layers["coupling"] = DoubleCoupling(channels, hidden_dim, hidden_depth, embedding_channels)
    layers["permutation"] = Permutation(channels)
    return Chain(OrderedDict(layers))
