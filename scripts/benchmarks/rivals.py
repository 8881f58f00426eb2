"""The IIN's architecture in other libraries of normalizing flows, with as many weights.

Each has blocks of ActNorm (zuko has none), two affine couplings and a fixed permutation. One network of 724 / 512 times
the width computes the scales and the shifts of a coupling, as is usual there: 26.9 million weights in place of 26.8.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Rival(nn.Module):
    """A flow of another library: x, (B, C), -> (z, log-determinant), and `inverse`, z -> x."""

    def __init__(self, flow: nn.Module, forward: Callable[..., Any], inverse: Callable[..., Any]) -> None:
        super().__init__()
        self.flow, self._forward, self._inverse = flow, forward, inverse

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._forward(self.flow, x)

    def inverse(self, z: Tensor) -> Tensor:
        return self._inverse(self.flow, z)


class Unconditional(nn.Module):
    """A network that is called with a condition, which there is none of."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor, condition: None) -> Tensor:
        return self.layers(x)


def network(n_in: int, width: int, depth: int, n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(n_in, width), nn.LeakyReLU(0.01, inplace=True)]
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.LeakyReLU(0.01, inplace=True)]
    return nn.Sequential(*layers, nn.Linear(width, n_out))


def freia(channels: int, width: int, depth: int, n_flows: int) -> Rival:
    from FrEIA import framework, modules

    flow = framework.SequenceINN(channels)
    for _ in range(n_flows):
        flow.append(modules.ActNorm)
        flow.append(
            modules.GLOWCouplingBlock,
            subnet_constructor=lambda n_in, n_out: network(n_in, width, depth, n_out),
            clamp=1.0,
            clamp_activation="TANH",
        )
        flow.append(modules.PermuteRandom)
    return Rival(flow, lambda flow, x: flow(x), lambda flow, z: flow(z, rev=True)[0])


def nflows(channels: int, width: int, depth: int, n_flows: int) -> Rival:
    from nflows import transforms

    def coupling(first: int) -> nn.Module:
        mask = torch.arange(channels) % 2 == first
        return transforms.AffineCouplingTransform(
            mask, lambda n_in, n_out: Unconditional(network(n_in, width, depth, n_out))
        )

    layers = [
        layer
        for _ in range(n_flows)
        for layer in (transforms.ActNorm(channels), coupling(0), coupling(1), transforms.RandomPermutation(channels))
    ]
    return Rival(
        transforms.CompositeTransform(layers), lambda flow, x: flow(x), lambda flow, z: flow.inverse(z)[0]
    )


def normflows(channels: int, width: int, depth: int, n_flows: int) -> Rival:
    from normflows import flows

    def coupling() -> list[nn.Module]:
        half = channels // 2
        return [flows.AffineCouplingBlock(network(half, width, depth, channels)), flows.Permute(channels, mode="swap")]

    layers = [
        layer
        for _ in range(n_flows)
        for layer in (flows.ActNorm((channels,)), *coupling(), *coupling(), flows.Permute(channels))
    ]
    return Rival(nn.ModuleList(layers), _through_normflows, _back_through_normflows)


def _through_normflows(flow: nn.ModuleList, x: Tensor) -> tuple[Tensor, Tensor]:
    logdet = x.new_zeros(len(x))
    for layer in flow:  # `forward` is the direction of training here, `inverse` that of sampling
        x, term = layer(x)
        logdet = logdet + term
    return x, logdet


def _back_through_normflows(flow: nn.ModuleList, z: Tensor) -> Tensor:
    for layer in reversed(flow):
        z = layer.inverse(z)[0]
    return z


def zuko(channels: int, width: int, depth: int, n_flows: int) -> Rival:
    from zuko.distributions import DiagNormal
    from zuko.flows import Flow, GeneralCouplingTransform, UnconditionalDistribution, UnconditionalTransform
    from zuko.transforms import PermutationTransform

    mask = torch.arange(channels) % 2 == 0
    settings = {"hidden_features": [width] * (depth + 1), "activation": nn.LeakyReLU}
    layers = [
        layer
        for _ in range(n_flows)
        for layer in (
            GeneralCouplingTransform(channels, mask=mask, **settings),
            GeneralCouplingTransform(channels, mask=~mask, **settings),
            UnconditionalTransform(PermutationTransform, torch.randperm(channels), buffer=True),
        )
    ]
    base = UnconditionalDistribution(DiagNormal, torch.zeros(channels), torch.ones(channels), buffer=True)
    return Rival(
        Flow(layers, base), lambda flow, x: flow().transform.call_and_ladj(x), lambda flow, z: flow().transform.inv(z)
    )


RIVALS = {"FrEIA": freia, "zuko": zuko, "normflows": normflows, "nflows": nflows}


def rivals(channels: int, width: int, depth: int, n_flows: int) -> tuple[dict[str, Rival], list[str]]:
    """The rivals that are installed, with as many weights as ours of that width, and the names of the others."""
    wide = round(width * 2**0.5)
    found, missing = {}, []
    for name, build in RIVALS.items():
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
        else:
            with torch.device("cpu"):  # where their authors build them; then they are moved
                flow = build(channels, wide, depth, n_flows)
            found[name] = flow.to(torch.get_default_device())
    return found, missing
