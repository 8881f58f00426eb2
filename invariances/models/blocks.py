"""Blocks that the autoencoders and classifiers share."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from torch import nn

from invariances.flows.layers.actnorm import ActNormLayer

Norm = Literal["an", "bn", "none"]

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
    """Positions a side that are left of `in_size` pixels after `n_down` halvings.

    Raises:
        ValueError: n_down is below 1, or in_size is no multiple of 2^n_down.

    >>> grid_size(32, n_down=4)
    2
    """
    if n_down < 1:
        raise ValueError(f"n_down is {n_down}; expected 1 or more")
    step = 2**n_down
    if in_size < step or in_size % step:
        nearest = step * max(1, (in_size + step // 2) // step)
        raise ValueError(
            f"in_size is {in_size}, which {n_down} halvings (n_down) do not fit; nearest: {nearest}"
        )
    return in_size // step


def block(
    convolution: Callable[..., nn.Module], in_channels: int, out_channels: int, norm: Norm
) -> nn.Sequential:
    """A 4×4 stride-2 convolution without bias, normalisation and LeakyReLU 0.2.

    `convolution` is `nn.Conv2d`, which halves the grid, or `nn.ConvTranspose2d`, which doubles it.
    """
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; expected one of {', '.join(NORMS)}")
    layers = {
        "conv": convolution(in_channels, out_channels, 4, stride=2, padding=1, bias=False),
        "norm": NORMS[norm](out_channels),
        "activation": nn.LeakyReLU(0.2),
    }
    return nn.Sequential(OrderedDict(layers))


def initialize(module: nn.Module) -> None:
    """Weights of convolutions start as N(0, 0.02); for `nn.Module.apply`."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
