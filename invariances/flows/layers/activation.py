"""Invertible activations."""

import math

import torch
from torch import Tensor

from invariances.flows.layers.base import Bijection


class InvertibleLeakyReLU(Bijection):
    """y = x where x ≥ 0, y = slope · x elsewhere; log|det| = log(slope) times the number of negative entries.

    The software of the papers leaves this term out of its log-determinant, so the log-likelihoods it reports
    for flows with this activation are too high. No published model uses it.

    Args:
        slope: of the negative side, above 0.

    >>> y, logdet = InvertibleLeakyReLU(0.5)(torch.tensor([[1.0, -2.0, -4.0]]))
    >>> y, logdet
    (tensor([[ 1., -1., -2.]]), tensor([-1.3863]))
    """

    def __init__(self, slope: float = 0.9) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The activated x and its log-determinant."""
        return torch.where(x < 0, self.slope * x, x), math.log(self.slope) * (x < 0).sum(1).to(x.dtype)

    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Negative entries divided by the slope."""
        return torch.where(y < 0, y / self.slope, y)

    def extra_repr(self) -> str:
        """The slope."""
        return f"{self.slope}"
