"""How the output of a layer is read as a representation (B, C, H, W), and written back."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from invariances.errors import InvalidInput

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Vector:
    """Vectors (B, C), read as (B, C, 1, 1).

    >>> Vector().read(torch.zeros(2, 5)).shape
    torch.Size([2, 5, 1, 1])
    """

    tokens: str | None = None

    def read(self, output: Tensor) -> Tensor:
        """The representation."""
        return output[:, :, None, None]

    def write(self, z: Tensor, output: Tensor) -> Tensor:
        """The layer's output for a representation; of the output for other images, what z does not hold is kept."""
        return z.flatten(1)


class Map(Vector):
    """Maps (B, C, H, W)."""

    def read(self, output: Tensor) -> Tensor:
        """The map itself."""
        return output

    def write(self, z: Tensor, output: Tensor) -> Tensor:
        """The map itself."""
        return z


class ChannelsLast(Vector):
    """Maps (B, H, W, C), as those of Swin transformers.

    >>> ChannelsLast().read(torch.zeros(2, 7, 6, 768)).shape
    torch.Size([2, 768, 7, 6])
    """

    def read(self, output: Tensor) -> Tensor:
        """Channels first."""
        return output.permute(0, 3, 1, 2)

    def write(self, z: Tensor, output: Tensor) -> Tensor:
        """Channels last."""
        return z.permute(0, 2, 3, 1).contiguous()


@dataclass(frozen=True)
class Tokens(Vector):
    """All tokens (B, N, C), read as (B, C, N, 1).

    Args:
        prefix: number of class and register tokens, which come first.
        grid: height and width of the map of patches; None if the other tokens form no map.
        has_class: whether the first token is a class token.

    >>> Tokens(prefix=1, grid=(14, 14)).read(torch.zeros(2, 197, 768)).shape
    torch.Size([2, 768, 197, 1])
    """

    tokens: str | None = "all"
    prefix: int = 0
    grid: tuple[int, int] | None = None
    has_class: bool = True

    def read(self, output: Tensor) -> Tensor:
        """All tokens."""
        return output.transpose(1, 2)[..., None]

    def write(self, z: Tensor, output: Tensor) -> Tensor:
        """All tokens."""
        return z[..., 0].transpose(1, 2).contiguous()

    def choices(self) -> "Iterator[Tokens]":
        """Every way to read these tokens."""
        yield Tokens("all", self.prefix, self.grid, self.has_class)
        if self.prefix and self.has_class:
            yield ClassToken("cls", self.prefix, self.grid)
        if self.grid:
            yield Patches("patches", self.prefix, self.grid, self.has_class)
        yield MeanPatch("mean", self.prefix, self.grid, self.has_class)


class ClassToken(Tokens):
    """The first token (B, C, 1, 1)."""

    def read(self, output: Tensor) -> Tensor:
        """The first token."""
        return output[:, 0, :, None, None]

    def write(self, z: Tensor, output: Tensor) -> Tensor:
        """The first token exchanged."""
        return torch.cat([z.flatten(1)[:, None], _rows(output[:, 1:], z)], dim=1)


class Patches(Tokens):
    """The patches as a map (B, C, h, w), without class and register tokens.

    >>> Patches("patches", prefix=5, grid=(14, 14)).read(torch.zeros(2, 201, 768)).shape
    torch.Size([2, 768, 14, 14])
    """

    def read(self, output: Tensor) -> Tensor:
        """The map of patches."""
        assert self.grid is not None
        return output[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)

    def write(self, z: Tensor, output: Tensor) -> Tensor:
        """The patches exchanged."""
        return torch.cat([_rows(output[:, : self.prefix], z), z.flatten(2).transpose(1, 2)], dim=1)


class MeanPatch(Tokens):
    """The mean of the patches (B, C, 1, 1), without class and register tokens."""

    def read(self, output: Tensor) -> Tensor:
        """The mean patch."""
        return output[:, self.prefix :].mean(dim=1)[..., None, None]

    def write(self, z: Tensor, output: Tensor) -> Tensor:
        """Each patch replaced by the mean."""
        patches = z.flatten(1)[:, None].expand(-1, output.shape[1] - self.prefix, -1)
        return torch.cat([_rows(output[:, : self.prefix], z), patches], dim=1)


def _rows(output: Tensor, z: Tensor) -> Tensor:
    """The output for one image, or for as many as there are representations, with one row for each of these."""
    return output.expand(len(z), -1, -1)


def shape_of(z: Tensor) -> Shape:
    """(C, H, W) of representations.

    >>> shape_of(torch.zeros(2, 5, 1, 1))
    (5, 1, 1)
    """
    channels, height, width = z.shape[1:]
    return channels, height, width


def side_of(shape: Shape) -> int:
    """The side of square maps (C, S, S), on which flows can be conditioned; 1 of vectors.

    Raises:
        InvalidInput: other maps, or all tokens of a transformer at once.

    >>> side_of((256, 13, 13))
    13
    """
    _, height, width = shape
    if height == width:
        return height
    if width == 1:
        raise InvalidInput(f"all {height} tokens cannot condition a flow; choose with tokens: cls, patches or mean")
    raise InvalidInput(f"maps of {height} × {width} cannot condition a flow; expected square ones")
