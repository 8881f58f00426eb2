"""Bijections in a row, and the row that makes one flow."""

from collections import OrderedDict
from typing import Literal, cast

from torch import Tensor, nn

from invariances.flows.layers.activation import InvertibleLeakyReLU
from invariances.flows.layers.actnorm import ActNorm
from invariances.flows.layers.base import Bijection
from invariances.flows.layers.coupling import DoubleCoupling
from invariances.flows.layers.permutation import Permutation

Activation = Literal["none", "lrelu"]


class Chain(nn.Sequential, Bijection):
    """Bijections one after another; their log-determinants add up.

    >>> import torch
    >>> from invariances.flows.layers.permutation import Permutation
    >>> chain = Chain(Permutation(4), Permutation(4))
    >>> x = torch.rand(2, 4)
    >>> y, logdet = chain(x)
    >>> torch.equal(chain.inverse(y), x), logdet
    (True, tensor([0., 0.]))
    """

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From the first layer to the last."""
        logdet = x.new_zeros(len(x))
        for layer in self:
            x, term = layer(x, embedding)
            logdet = logdet + term
        return x, logdet

    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """From the last layer to the first."""
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
    """One flow: ActNorm, the activation if any, two affine couplings, a fixed permutation.

    Args:
        channels: C of the vectors (B, C).
        hidden_dim: see `DoubleCoupling`.
        hidden_depth: see `DoubleCoupling`.
        embedding_channels: see `DoubleCoupling`.
        activation: "none", or "lrelu" for `InvertibleLeakyReLU`.

    >>> [name for name, _ in flow_block(8, hidden_dim=16, hidden_depth=1).named_children()]
    ['norm', 'coupling', 'permutation']
    """
    layers: dict[str, nn.Module] = {"norm": ActNorm(channels)}
    if activation == "lrelu":
        layers["activation"] = InvertibleLeakyReLU()
    elif activation != "none":
        raise ValueError(f"activation is {activation!r}; expected none or lrelu")
    layers["coupling"] = DoubleCoupling(channels, hidden_dim, hidden_depth, embedding_channels)
    layers["permutation"] = Permutation(channels)
    return Chain(OrderedDict(layers))
