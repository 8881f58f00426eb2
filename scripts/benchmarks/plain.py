"""The flows with separate scale and shift networks, and layers computed one by one, as in the released software."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class PlainActNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(1, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x + self.loc)


class PlainNetwork(nn.Module):
    def __init__(self, n_in: int, hidden_dim: int, hidden_depth: int, n_out: int, last: nn.Module) -> None:
        super().__init__()
        layers = [nn.Linear(n_in, hidden_dim), nn.LeakyReLU()]
        for _ in range(hidden_depth):
            layers += [nn.Linear(hidden_dim, hidden_dim), nn.LeakyReLU()]
        self.main = nn.Sequential(*layers, nn.Linear(hidden_dim, n_out), last)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


class PlainCoupling(nn.Module):
    def __init__(self, channels: int, hidden_dim: int, hidden_depth: int, n_embedding: int) -> None:
        super().__init__()
        sizes = (channels // 2 + n_embedding, hidden_dim, hidden_depth, channels // 2)
        self.s = nn.ModuleList(PlainNetwork(*sizes, nn.Tanh()) for _ in range(2))
        self.t = nn.ModuleList(PlainNetwork(*sizes, nn.Identity()) for _ in range(2))

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        logdet = x.new_zeros(len(x))
        for s, t in zip(self.s, self.t, strict=True):
            kept, changed = x.chunk(2, dim=1)
            given = torch.cat([kept, embedding], dim=1)
            scale = s(given)
            x = torch.cat([changed * scale.exp() + t(given), kept], dim=1)
            logdet = logdet + scale.sum(1)
        changed, kept = x.chunk(2, dim=1)  # the released coupling does not swap the halves at its end
        return torch.cat([kept, changed], dim=1), logdet


class PlainShuffle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("forward_shuffle_idx", torch.arange(channels))
        self.register_buffer("backward_shuffle_idx", torch.arange(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.forward_shuffle_idx]


class PlainFlow(nn.Module):
    """The flows, unconditional without `conditioning`, under the names of the released conditional flow."""

    def __init__(
        self, channels: int, hidden_dim: int, hidden_depth: int, n_flows: int, conditioning: int = 0
    ) -> None:
        super().__init__()
        n_embedding = channels if conditioning else 0
        layers = [
            {
                "norm_layer": PlainActNorm(channels),
                "coupling": PlainCoupling(channels, hidden_dim, hidden_depth, n_embedding),
                "shuffle": PlainShuffle(channels),
            }
            for _ in range(n_flows)
        ]
        self.flow = nn.ModuleDict({"sub_layers": nn.ModuleList(map(nn.ModuleDict, layers))})
        self.embedder = nn.ModuleDict({"net": plain_embedder(conditioning, channels)} if conditioning else {})

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.embedder["net"](z).flatten(1) if self.embedder else x.new_empty(len(x), 0)
        logdet = x.new_zeros(len(x))
        x = x.flatten(1)
        for flow in self.flow["sub_layers"]:
            x = flow["norm_layer"](x[:, :, None, None]).flatten(1)
            x, term = flow["coupling"](x, embedding)
            x = flow["shuffle"](x)
            logdet = logdet + term + flow["norm_layer"].scale.abs().log().sum()
        return x[:, :, None, None], logdet


def plain_embedder(channels: int, out_channels: int) -> nn.Sequential:
    widths = [int(channels + (out_channels - channels) * i / 3) for i in range(4)]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths[:3]):
        layers += [nn.Conv2d(n_in, n_out, 1), PlainActNorm(n_out), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(widths[2], out_channels, 1))
