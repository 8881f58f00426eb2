"""Embedding networks: from a representation to the vector that conditions a flow."""

from itertools import pairwise

import numpy as np
from torch import Tensor, nn

from invariances.flows.layers.actnorm import ActNormLayer


class DenseEmbedder(nn.Module):
    """Vectors (B, in_channels) or (B, in_channels, 1, 1) to embeddings (B, out_channels).

    `depth − 1` linear layers whose widths are evenly spaced from in_channels to out_channels, with ActNorm and
    LeakyReLU 0.2 between them. Inputs and outputs take any real values.

    Args:
        in_channels, out_channels: sizes of input and embedding.
        depth: number of widths, 2 or more.

    Source: Rombach, Esser and Ommer 2020, Making sense of CNNs, appendix.

    >>> DenseEmbedder(10, 8, depth=4)
    DenseEmbedder(
      (net): Sequential(
        (0): Linear(in_features=10, out_features=9, bias=True)
        (1): ActNormLayer(9)
        (2): LeakyReLU(negative_slope=0.2)
        (3): Linear(in_features=9, out_features=8, bias=True)
        (4): ActNormLayer(8)
        (5): LeakyReLU(negative_slope=0.2)
        (6): Linear(in_features=8, out_features=8, bias=True)
      )
    )
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int) -> None:
        super().__init__()
        widths = np.linspace(in_channels, out_channels, depth).astype(int).tolist()
        *hidden, last = pairwise(widths)
        layers: list[nn.Module] = []
        for sizes in hidden:
            layers += [nn.Linear(*sizes), ActNormLayer(sizes[1]), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Linear(*last))

    def forward(self, z: Tensor) -> Tensor:
        """Embed vectors: (B, in_channels) or (B, in_channels, 1, 1) -> (B, out_channels)."""
        return self.net(z.flatten(1))


class ConvolutionalEmbedder(nn.Module):
    """Feature maps (B, in_channels, in_size, in_size) to embeddings (B, out_channels).

    Each of `n_down` stages halves the grid: 4×4 convolution of stride 2 to 64 · min(2^stage, 16) channels, ActNorm,
    LeakyReLU 0.2. A last convolution covers the remaining grid. Inputs and outputs take any real values.

    Args:
        in_channels, in_size: channels and side of the feature maps.
        n_down: number of stages, 0 to ⌊log₂ in_size⌋.
        out_channels: size of the embedding.

    Source: Rombach, Esser and Ommer 2020, Making sense of CNNs, appendix.

    >>> import torch
    >>> ConvolutionalEmbedder(5, 13, n_down=2, out_channels=8)(torch.randn(4, 5, 13, 13)).shape
    torch.Size([4, 8])
    """

    def __init__(self, in_channels: int, in_size: int, n_down: int, out_channels: int) -> None:
        super().__init__()
        channels = [in_channels, *(64 * min(2**stage, 16) for stage in range(n_down))]
        self.stages = nn.Sequential(*(_stage(*ends) for ends in pairwise(channels)))
        self.head = nn.Conv2d(channels[-1], out_channels, in_size >> n_down)

    def forward(self, z: Tensor) -> Tensor:
        """Embed feature maps: (B, in_channels, in_size, in_size) -> (B, out_channels)."""
        return self.head(self.stages(z)).flatten(1)


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, ActNormLayer(out_channels), nn.LeakyReLU(0.2))
