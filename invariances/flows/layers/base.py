"""The interface of the layers of a flow."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible map of vectors, x <-> y, with a log-determinant that is cheap to compute.

    Vectors are (B, C), any real values. A layer that is conditional reads `embedding`, (B, E); others ignore it.

    >>> import torch
    >>> class Shift(Bijection):
    ...     def forward(self, x, embedding=None):
    ...         return x + 1, x.new_zeros(len(x))
    ...     def inverse(self, y, embedding=None):
    ...         return y - 1
    >>> y, logdet = Shift()(torch.zeros(2, 3))
    >>> Shift().inverse(y).sum(), logdet
    (tensor(0.), tensor([0., 0.]))
    """

    @abstractmethod
    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map x to y, (B, C), and compute log|det ∂y/∂x|, (B,): positive where the map expands."""

    @abstractmethod
    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Map y back to x, (B, C). The log-determinant of the inverse is minus that of `forward`."""
