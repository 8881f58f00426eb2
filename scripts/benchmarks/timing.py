"""Times of works that take turns, and the floor of a work on this machine."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from invariances.flows.layers.coupling import TwinLinear

Work = Callable[[], object]
Clock = Callable[[], float]  # seconds
Times = dict[str, list[float]]  # of each version in each round, in milliseconds
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
ADAM_PASSES = 7  # over the weights: weight, gradient and two moments read, weight and two moments written


def timed(work: Work, clock: Clock) -> float:
    """Milliseconds of a work, which on a GPU begins when what came before it is done."""
    _wait_for_gpu()
    start = clock()
    work()
    _wait_for_gpu()
    return 1000 * (clock() - start)


def _wait_for_gpu() -> None:
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


def ratio(times: list[float], to: list[float]) -> tuple[float, float, float]:
    """Median and quartiles of the ratio in each round."""
    ratios = sorted(a / b for a, b in zip(times, to, strict=True))
    return statistics.median(ratios), ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]


def fastest(work: Work, clock: Clock, repeats: int = 15) -> float:
    """Seconds."""
    work()
    return min(timed(work, clock) for _ in range(repeats)) / 1000


def copy_speed(clock: Clock, n_bytes: int = 2**28) -> float:
    """Bytes read and written per second by a copy."""
    source, target = torch.ones(n_bytes // 4), torch.empty(n_bytes // 4)
    return 2 * n_bytes / fastest(lambda: target.copy_(source), clock)


def sgemm_speed(clock: Clock, n: int = 2048) -> float:
    """Floating point operations per second of a large product."""
    a, out = torch.randn(n, n), torch.empty(n, n)
    return 2 * n**3 / fastest(lambda: torch.mm(a, a, out=out), clock)


def products(model: nn.Module, batch: int, backward: bool, clock: Clock) -> float:
    """Seconds of the products of all linear layers of a flow, each shape measured alone."""
    shapes = [
        (2, *layer.weight.shape[1:]) if isinstance(layer, TwinLinear) else (1, *layer.weight.shape[::-1])
        for layer in model.modules()
        if isinstance(layer, TwinLinear | nn.Linear)
    ]
    return sum(shapes.count(shape) * _layer(*shape, batch, backward, clock) for shape in set(shapes))


def _layer(n: int, n_in: int, n_out: int, batch: int, backward: bool, clock: Clock) -> float:
    x, weight, y = torch.randn(n, batch, n_in), torch.randn(n, n_in, n_out), torch.randn(n, batch, n_out)
    seconds = _product(x, weight, clock)
    return seconds + _product(y, weight.mT, clock) + _product(x.mT, y, clock) if backward else seconds


def _product(a: Tensor, b: Tensor, clock: Clock) -> float:
    out = torch.bmm(a, b)
    return fastest(lambda: torch.bmm(a, b, out=out), clock, 40)


def floor(model: nn.Module, batch: int, trains: bool, clock: Clock) -> float:
    """Milliseconds of the products at their own measured speed, and of Adam's passes at that of a copy."""
    n_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    adam = ADAM_PASSES * n_bytes / copy_speed(clock) if trains else 0
    return 1000 * (products(model, batch, trains, clock) + adam)
