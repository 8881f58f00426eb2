"""Forward passes of a network that end at a layer, or in which a layer's output is replaced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.models.studied.layout import Vector
from invariances.models.studied.tracing import eagerly

ROUNDING = 100  # tolerated rounding errors, in machine epsilons of the largest output
REPEATED = 10  # tolerated difference of two forward passes, in differences of two that should be equal


class _Captured(Exception):
    """Ends a forward pass once the layer's output is known."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


def run(network: nn.Module, images: Tensor) -> Tensor:
    """The network's output, in eval mode."""
    with eagerly(network):
        return network.eval()(images)  # other owners of the network may have called its `train()`


def output_of(network: nn.Module, module: nn.Module, images: Tensor, title: str) -> Tensor:
    """The output of a module, after which the forward pass ends."""

    def capture(output: Tensor) -> Tensor:
        raise _Captured(output.clone())  # the output may be the layer's input

    try:
        with output_replaced(module, capture):
            run(network, images)
    except _Captured as captured:
        return captured.output
    raise InvalidInput(f"{title} was not called for images of shape {tuple(images.shape)}")


def replayed(network: nn.Module, module: nn.Module, layout: Vector, z: Tensor, images: Tensor) -> Tensor:
    """The network's output for images, with the representation at a module replaced."""
    with output_replaced(module, lambda output: layout.write(z.to(output.dtype), output).clone()):
        return run(network, images)  # a copy, since the next layer may work in place


@torch.no_grad()
def why_not_by_values(
    network: nn.Module, module: nn.Module, layout: Vector, images: Tensor, others: Tensor
) -> str | None:
    """Why a representation does not determine the output, seen in values: the graph does not show everything.

    The same numbers lead to the same output bit for bit on most devices. So the output for other images with the
    representation replaced may differ from the first one only as much as two passes over the first images do.
    """
    output = run(network, images)
    z = layout.read(output_of(network, module, images, "the layer"))
    repeated, error = (
        (replayed(network, module, layout, z, given) - output).abs().max().item() for given in (images, others)
    )
    found = f"does not determine the output: decode(encode(x)) and f(x) differ by {max(repeated, error):.1e}"
    if not repeated <= tolerance(output, output.dtype):
        return found if layout.tokens == "mean" else f"{found}; does the network draw random numbers?"
    return None if error <= REPEATED * repeated else f"{found}, since other values reach the output too"


def tolerance(output: Tensor, dtype: torch.dtype) -> float:
    """The largest rounding error of an output that was computed in this precision."""
    return ROUNDING * torch.finfo(dtype).eps * max(1.0, output.abs().max().item())


def precision_of(network: nn.Module, images: Tensor) -> torch.dtype:
    """Precision in which a network computes: that of its first weight."""
    return next(network.parameters(), images).dtype


@contextmanager
def output_replaced(module: nn.Module, replace: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the context, calls of the module from this thread return `replace(output)`.

    >>> network = nn.Identity()
    >>> with output_replaced(network, torch.neg):
    ...     print(network(torch.ones(1)))
    tensor([-1.])
    """
    thread = get_ident()  # other threads may use the same network at the same time

    def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor | None:
        return replace(output) if get_ident() == thread else None

    with module.register_forward_hook(hook):
        yield
