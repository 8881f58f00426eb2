"""Building blocks of autoencoders and classifiers."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from torch import nn

from invariances.errors import InvalidInput
from invariances.flows.layers.actnorm import ActNormLayer

Norm = Literal["an", "bn", "none"]
MOST_HALVINGS = 30  # of a grid; there is no larger image, and 2^n_down stays small

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "an": ActNormLayer,
    "bn": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}


def n_channels(scale: int, width: int) -> int:
    """Channels after `scale + 1` halvings of the grid: width · min(2^scale, 16).

    >>> [n_channels(scale, width=64) for scale in range(6)]
    [64, 128, 256, 512, 1024, 1024]
    """
    return width * min(2**scale, 16)


def grid_size(in_size: int, n_down: int) -> int:
    """Side of the grid after `n_down` halvings of `in_size` pixels.

    Raises:
        InvalidInput: n_down is not 1 to `MOST_HALVINGS`, or in_size is no multiple of 2^n_down.

    >>> grid_size(32, n_down=4)
    2
    """
    if not 1 <= n_down <= MOST_HALVINGS:
        raise InvalidInput(f"n_down is {n_down}; expected 1 to {MOST_HALVINGS}")
    step = 2**n_down
    if in_size < step or in_size % step:
        nearest = step * max(1, (in_size + step // 2) // step)
        raise InvalidInput(f"in_size is {in_size}; expected a multiple of {step} (2^n_down), nearest: {nearest}")
    return in_size // step


def block(
    convolution: Callable[..., nn.Module], in_channels: int, out_channels: int, norm: Norm
) -> nn.Sequential:
    """A 4×4 stride-2 convolution without bias, normalisation and LeakyReLU 0.2.

    Args:
        convolution: `nn.Conv2d`, which halves the grid, or `nn.ConvTranspose2d`, which doubles it.
        in_channels, out_channels: channels before and after it.
        norm: "an" (ActNorm), "bn" (BatchNorm) or "none".

    Raises:
        InvalidInput: norm has another value.

    >>> import torch
    >>> block(nn.Conv2d, 3, 8, norm="bn")(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 8, 8, 8])
    """
    if norm not in NORMS:
        raise InvalidInput(f"norm is {norm!r}; expected one of {', '.join(NORMS)}")
    layers = {
        "conv": convolution(in_channels, out_channels, 4, stride=2, padding=1, bias=False),
        "norm": NORMS[norm](out_channels),
        "activation": nn.LeakyReLU(0.2),
    }
    return nn.Sequential(OrderedDict(layers))


def initialize(module: nn.Module) -> None:
    """Initialise the weight of a convolution from N(0, 0.02); for `nn.Module.apply`."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
