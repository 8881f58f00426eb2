"""What every layer of a flow can do."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible map of vectors, x <-> y, with a log-determinant that is cheap to compute.

    Vectors are (B, C). `forward` gives y and log|det ∂y/∂x|, (B,): positive where the map expands. `inverse`
    needs no log-determinant; it is minus that of `forward`. An `embedding` (B, E) conditions the layers that
    look at it; the others ignore it.
    """

    @abstractmethod
    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The image of x and log|det ∂y/∂x|."""

    @abstractmethod
    def inverse(self, y: Tensor, embedding: Tensor | None = None) -> Tensor:
        """The x that `forward` maps to y."""
