"""Invertible activations."""

import math

import torch
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.flows.layers.base import Bijection


class InvertibleLeakyReLU(Bijection):
    """y = x where x ≥ 0, y = slope · x elsewhere; log|det| = log(slope) times the number of negative entries.

    Vectors are (B, C), any real values.

    The software of the papers leaves this term out of its log-determinant, so the log-likelihoods it reports
    for flows with this activation are too high. No published model uses it.

    Args:
        slope: of the negative side, above 0.

    Raises:
        InvalidInput: slope is 0 or below.

    >>> y, logdet = InvertibleLeakyReLU(0.5)(torch.tensor([[1.0, -2.0, -4.0]]))
    >>> y, logdet
    (tensor([[ 1., -1., -2.]]), tensor([-1.3863]))
    """

    def __init__(self, slope: float = 0.9) -> None:
        super().__init__()
        if not slope > 0:
            raise InvalidInput(f"slope is {slope}; expected a number above 0")
        self.slope = slope

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Activate x; the log-determinant, (B,), is log(slope) for each negative entry."""
        return torch.where(x < 0, self.slope * x, x), math.log(self.slope) * (x < 0).sum(1).to(x.dtype)

    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Divide negative entries by the slope."""
        return torch.where(y < 0, y / self.slope, y)

    def extra_repr(self) -> str:
        """The slope."""
        return f"{self.slope}"
