"""Fixed permutations of the channels."""

import torch
from torch import Tensor

from invariances.flows.layers.base import Bijection


class Permutation(Bijection):
    """A fixed random order of the channels, so that later couplings mix others than earlier ones.

    Both tables, there and back, are in the state dict.

    Args:
        channels: C of the vectors (B, C).

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
        """y_i = x_{order(i)}; the log-determinant is 0."""
        return x.index_select(1, self.forward_index), x.new_zeros(len(x))

    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Back to the order of x."""
        return y.index_select(1, self.backward_index)

    def extra_repr(self) -> str:
        """The number of channels."""
        return f"{len(self.forward_index)}"
