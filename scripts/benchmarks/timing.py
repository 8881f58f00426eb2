"""Times of works that take turns, and the floor of a work on this machine."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from invariances.flows.layers.coupling import TwinLinear

Work = Callable[[], object]
ADAM_PASSES = 7  # over the weights: weight, gradient and two moments read, weight and two moments written


def take_turns(works: Mapping[str, Work], seconds: float, at_least: int = 5) -> dict[str, list[float]]:
    """Milliseconds of each work in each round; in a round all of them run once, one after the other."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(works))]) < at_least:
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(1000 * (time.perf_counter() - start))
    return times


def ratio(times: list[float], to: list[float]) -> tuple[float, float, float]:
    """Median and quartiles of the ratio in each round."""
    ratios = sorted(a / b for a, b in zip(times, to, strict=True))
    return statistics.median(ratios), ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]


def fastest(work: Work, repeats: int = 15) -> float:
    """Seconds."""
    return min(take_turns({"": work}, 0, repeats)[""]) / 1000


def copy_speed(n_bytes: int = 2**28) -> float:
    """Bytes read and written per second by a copy."""
    source, target = torch.ones(n_bytes // 4), torch.empty(n_bytes // 4)
    return 2 * n_bytes / fastest(lambda: target.copy_(source))


def sgemm_speed(n: int = 2048) -> float:
    """Floating point operations per second of a large product."""
    a, out = torch.randn(n, n), torch.empty(n, n)
    return 2 * n**3 / fastest(lambda: torch.mm(a, a, out=out))


def products(model: nn.Module, batch: int, backward: bool) -> float:
    """Seconds of the products of all linear layers of a flow, each shape measured alone."""
    shapes = [
        (2, *layer.weight.shape[1:]) if isinstance(layer, TwinLinear) else (1, *layer.weight.shape[::-1])
        for layer in model.modules()
        if isinstance(layer, TwinLinear | nn.Linear)
    ]
    return sum(shapes.count(shape) * _layer(*shape, batch, backward) for shape in set(shapes))


def _layer(n: int, n_in: int, n_out: int, batch: int, backward: bool) -> float:
    x, weight, y = torch.randn(n, batch, n_in), torch.randn(n, n_in, n_out), torch.randn(n, batch, n_out)
    seconds = _product(x, weight)
    return seconds + _product(y, weight.mT) + _product(x.mT, y) if backward else seconds


def _product(a: Tensor, b: Tensor) -> float:
    out = torch.bmm(a, b)
    return fastest(lambda: torch.bmm(a, b, out=out), 40)


def floor(model: nn.Module, batch: int, speed: float, trains: bool = True) -> float:
    """Milliseconds of the products at their own measured speed, and of Adam's passes at that of a copy."""
    n_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    return 1000 * (products(model, batch, trains) + trains * ADAM_PASSES * n_bytes / speed)
