"""Where a network can be cut in two: its layers, and whether everything passes through one of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

HOW_TO_LIST = "list all with Greybox.layers(MODEL) or `invariances layers MODEL`"


@dataclass(frozen=True)
class Layer:
    """A layer at which a network can be cut.

    Attributes:
        name: as in `named_modules()`, or `input` or `softmax`.
        type: the module's class.
        shape: (C, H, W) of its output; (C, 1, 1) for vectors.
    """

    name: str
    type: str
    shape: tuple[int, int, int]


class WithEnds(nn.Module):
    """A network whose ends are layers too: `input`, what it is given, and `softmax` of what it gives.

    Layers of the network that have these names themselves take precedence.

    Args:
        network: a module from one tensor to one tensor.
        softmax: whether softmax is taken of the output.
    """

    def __init__(self, network: nn.Module, softmax: bool) -> None:
        super().__init__()
        own = dict(network.named_modules())
        self.input, self.network = nn.Identity(), network
        self.softmax = nn.Softmax(dim=1) if softmax and "softmax" not in own else nn.Identity()

    def layers(self) -> dict[str, nn.Module]:
        """Every layer by its name, whether the network can be cut there or not."""
        own = {name: module for name, module in self.network.named_modules(remove_duplicate=False) if name}
        return {"input": self.input, "softmax": self.softmax} | own

    def forward(self, x: Tensor) -> Tensor:
        """The network's output, or its softmax."""
        output = self.network(self.input(x))
        if not isinstance(output, Tensor):
            raise ValueError(f"the network gives a {type(output).__name__}; expected a tensor")
        return self.softmax(output)


@dataclass(frozen=True)
class Call:
    """What a module gave, and the node of the autograd graph that it was then.

    A later step in place (ReLU, `out += identity`) moves the tensor on to another node.
    """

    output: Any
    node: Node | None


@dataclass(frozen=True)
class Trace:
    """One forward pass of a network.

    Attributes:
        source: the network's input.
        output: the network's output.
        calls: the calls of each module that was called, in the order in which the modules finished.
    """

    source: Tensor
    output: Tensor
    calls: dict[nn.Module, list[Call]]


def trace(network: nn.Module, images: Tensor) -> Trace:
    """Run a network once, in eval mode, and record what each of its modules gives.

    Every output is replaced by a copy of itself, so that it is a node of its own in the graph even where a
    layer returns its input (`nn.Identity`) or a view of it (`nn.Flatten`).
    """
    calls: dict[nn.Module, list[Call]] = {}

    def record(module: nn.Module, _args: Any, output: Any) -> Any:
        output = output.clone() if isinstance(output, Tensor) else output
        calls.setdefault(module, []).append(Call(output, getattr(output, "grad_fn", None)))
        return output

    with ExitStack() as hooks, torch.enable_grad(), evaluating(network):
        for module in network.modules():
            hooks.enter_context(module.register_forward_hook(record))
        source = images.detach().requires_grad_().clone()
        return Trace(source, network(source), calls)


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Within the context, networks are in eval mode; behind it, each of their modules is in the mode it had."""
    modes = {module: module.training for network in networks for module in network.modules()}
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def bypassed(traced: Trace, through: Node | None) -> bool:
    """Whether the output depends on the source other than through this node.

    Follows the autograd graph from the output back to the source on all paths that avoid the node. That is
    exact, where comparing numbers would miss a path that happens to contribute little.
    """
    pending: list[Node | None] = [traced.output.grad_fn]
    seen: set[Node | None] = {None, through}
    while pending:
        node = pending.pop()
        if node is traced.source.grad_fn:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            pending.extend(parent for parent, _ in node.next_functions)
    return False


def obstacle(module: nn.Module, traced: Trace) -> str | None:
    """Why a network cannot be cut at a module, or None if it can."""
    calls = traced.calls.get(module, [])
    if not calls:
        return _never_called(module)
    if len(calls) > 1:
        return f"is called {len(calls)} times in one forward pass"
    output = calls[0].output
    if not isinstance(output, Tensor):
        return f"gives a {type(output).__name__}; expected a tensor"
    if output.ndim not in (2, 4):
        return f"gives a tensor of shape {tuple(output.shape)}; expected (B, C) or (B, C, H, W)"
    if bypassed(traced, calls[0].node):
        return "is bypassed: a skip connection or another branch leads around it to the output"
    return None


def _never_called(module: nn.Module) -> str:
    parts = [name for name, _ in module.named_children()]
    if not parts:
        return "is never called in the forward pass"
    return f"is a {type(module).__name__} that is never called itself, only its parts: {', '.join(parts)}"


def cuttable(network: WithEnds, traced: Trace) -> dict[str, Layer]:
    """The layers at which a network can be cut by their names, from its input to its output."""
    return {
        name: Layer(name, type(module).__name__, shape_of(calls[0].output))
        for module, calls in traced.calls.items()
        for name, named in network.layers().items()
        if named is module and obstacle(module, traced) is None
    }


def find(network: WithEnds, name: str, traced: Trace) -> Tensor:
    """The output of the layer of a name, if the network can be cut there.

    Raises:
        ValueError: there is no such layer, or the reason why it cannot be cut.
    """
    layers = network.layers()
    if name not in layers:
        near = get_close_matches(name.lower(), layers)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"layer {name!r} does not exist{hint}; {HOW_TO_LIST}")
    reason = obstacle(layers[name], traced)
    if reason:
        raise ValueError(f"layer {name!r} {reason}; {HOW_TO_LIST}")
    return traced.calls[layers[name]][0].output


def shape_of(output: Tensor) -> tuple[int, int, int]:
    """(C, H, W) of an output of rank 4; (C, 1, 1) of rank 2."""
    channels, height, width = (*output.shape[1:], 1, 1)[:3]
    return channels, height, width


@contextmanager
def on_output(module: nn.Module, action: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the context, `action` replaces the output of the module, in calls from this thread."""
    thread = get_ident()  # other threads may use the same network at the same time

    def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor | None:
        return action(output) if get_ident() == thread else None

    with module.register_forward_hook(hook):
        yield
