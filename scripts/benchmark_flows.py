"""Time one training step of the flows against networks computed one by one, as in the released software.

    python scripts/benchmark_flows.py [--threads 2] [--steps 8]

The plain version has separate scale and shift networks, and 1×1 convolutions in the embedder; ours computes
both networks of a coupling in one product. Plain runs with Adam as it comes and with the fused one, ours with
the latter. All start from the same weights, and the losses are compared before anything is timed. Steps take
turns, and the fastest of each is printed: other work on the machine only adds time.
"""

import argparse
import time
from itertools import pairwise

import torch
from torch import Tensor, nn

from invariances.flows import ConditionalTransformer, VectorTransformer
from invariances.flows.released import CONDITIONAL, as_released
from invariances.losses import flow_nll

IIN = {"in_channel": 64, "n_flow": 12, "hidden_depth": 2, "hidden_dim": 512}
CINN = {"in_channels": 128, "mid_channels": 1024, "hidden_depth": 2, "n_flows": 20}
FC6 = {"conditioning_in_channels": 4096, "conditioning_spatial_size": 1}


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


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, ...]) -> float:
    """Milliseconds of one training step."""
    start = time.perf_counter()
    optimizer.zero_grad()
    flow_nll(*model(*batch)).backward()
    optimizer.step()
    return 1000 * (time.perf_counter() - start)


def adam(model: nn.Module, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.5, 0.9), fused=fused)


def compare(name: str, plain: PlainFlow, ours: nn.Module, batch: tuple[Tensor, Tensor], n_steps: int) -> None:
    given = batch if isinstance(ours, ConditionalTransformer) else batch[:1]
    ours(*given)  # sets the ActNorms
    plain.load_state_dict(dict(as_released(ours.state_dict(), CONDITIONAL)))
    losses = [flow_nll(*plain(*batch)).item(), flow_nll(*ours(*given)).item()]
    if abs(losses[0] - losses[1]) > 1e-3 * abs(losses[0]):
        raise RuntimeError(f"{name}: the two versions differ, {losses}")
    rivals = [
        (plain, adam(plain, False), batch),
        (plain, adam(plain, True), batch),
        (ours, adam(ours, True), given),
    ]
    times = [[step(*rival) for rival in rivals] for _ in range(n_steps + 2)][2:]
    plain_ms, fused_ms, our_ms = (min(column) for column in zip(*times, strict=True))
    n = sum(p.numel() for p in ours.parameters()) / 1e6
    print(
        f"{name:24}{n:8.1f}{plain_ms:10.0f}{fused_ms:14.0f}{our_ms:10.0f}"
        f"{plain_ms / our_ms:12.2f}{fused_ms / our_ms:8.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps of the flows.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"milliseconds a step, {arguments.threads} threads")
    print(f"{'':24}{'M weights':>8}{'plain':>9}{'plain, fused':>14}{'ours':>10}{'ratios':>12}")
    for size in (25, 256):
        batch = torch.randn(size, 64, 1, 1), torch.empty(size, 1)
        compare(
            f"IIN, batch {size}", PlainFlow(64, 512, 2, 12), VectorTransformer(**IIN), batch, arguments.steps
        )
    cinn = ConditionalTransformer(**CINN, **FC6)
    batch = torch.randn(16, 128, 1, 1), torch.randn(16, 4096, 1, 1)
    compare("cINN on fc6, batch 16", PlainFlow(128, 1024, 2, 20, 4096), cinn, batch, arguments.steps)


if __name__ == "__main__":
    main()
