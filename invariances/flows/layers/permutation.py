"""Fixed permutations of the channels."""

import torch
from torch import Tensor

from invariances.flows.layers.base import Bijection


class Permutation(Bijection):
    """Fixed random permutation of the channels, so that successive couplings split them differently.

    The permutation is drawn at construction, from torch's global generator. It and its inverse are buffers in the
    state dict: `forward_index` and `backward_index`, (C,).

    Args:
        channels: C of the vectors (B, C), any values.

    Source: Esser, Rombach and Ommer 2020, A disentangling invertible interpretation network, section 3.

    >>> permutation = Permutation(8)
    >>> x = torch.rand(2, 8)
    >>> y, logdet = permutation(x)
    >>> torch.equal(y.sort().values, x.sort().values), torch.equal(permutation.inverse(y), x)
    (True, True)
    """

    forward_index: Tensor
    backward_index: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        order = torch.randperm(channels)
        self.register_buffer("forward_index", order)
        self.register_buffer("backward_index", order.argsort())

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Permute the channels, y_i = x_{forward_index(i)}; the log-determinant, (B,), is 0."""
        return x.index_select(1, self.forward_index), x.new_zeros(len(x))

    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Undo the permutation, x_i = y_{backward_index(i)}."""
        return y.index_select(1, self.backward_index)

    def extra_repr(self) -> str:
        """The number of channels."""
        return f"{len(self.forward_index)}"
