"""The layers of a network: one traced forward pass, and at which layers the network can be split in two."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from invariances.errors import InvalidInput
from invariances.utils.names import nearest

HOW_TO_LIST = "list all with Greybox.layers(MODEL) or `invariances layers MODEL`"


@dataclass(frozen=True)
class Layer:
    """A layer at which a network can be split, as listed by `Greybox.layers`.

    Attributes:
        name: as in `named_modules()`, or `input` or `softmax`.
        type: the module's class.
        shape: (C, H, W) of its output; (C, 1, 1) for vectors.

    >>> from invariances.models import DigitClassifier, Greybox
    >>> Greybox.layers(DigitClassifier())[-2]
    Layer(name='logits', type='Linear', shape=(10, 1, 1))
    """

    name: str
    type: str
    shape: tuple[int, int, int]


class EndpointWrapper(nn.Module):
    """A network with two more layers: `input`, the identity on its input, and `softmax` of its output.

    Layers of the network that have these names themselves take precedence.

    Args:
        network: a module from one tensor to one tensor.
        softmax: whether the output is the softmax of the network's output, over the channels.

    >>> wrapper = EndpointWrapper(nn.Linear(3, 2), softmax=True)
    >>> wrapper(torch.zeros(1, 3)).shape, list(wrapper.layers())
    (torch.Size([1, 2]), ['input', 'softmax'])
    """

    def __init__(self, network: nn.Module, softmax: bool) -> None:
        super().__init__()
        names = dict(network.named_modules())
        self.input, self.network = nn.Identity(), network
        self.softmax = nn.Softmax(dim=1) if softmax and "softmax" not in names else nn.Identity()

    def layers(self) -> dict[str, nn.Module]:
        """Every layer by its name, whether the network can be split there or not."""
        inner = {name: module for name, module in self.network.named_modules(remove_duplicate=False) if name}
        return {"input": self.input, "softmax": self.softmax} | inner

    def forward(self, x: Tensor) -> Tensor:
        """Run the network, and softmax if it was chosen.

        Raises:
            InvalidInput: the network's output is not a tensor.
        """
        output = self.network(self.input(x))
        if not isinstance(output, Tensor):
            raise InvalidInput(f"the network returns a {type(output).__name__}; expected a tensor")
        return self.softmax(output)


@dataclass(frozen=True)
class Call:
    """The output of one call of a module, and its node in the autograd graph at that time.

    A later in-place operation (ReLU, `out += identity`) makes the tensor point to another node.
    """

    output: Any
    node: Node | None


@dataclass(frozen=True)
class Trace:
    """One forward pass of a network.

    Attributes:
        input: the network's input.
        output: the network's output.
        calls: the calls of each module that was called, in the order in which the modules finished.
    """

    input: Tensor
    output: Tensor
    calls: dict[nn.Module, list[Call]]


def trace(network: nn.Module, images: Tensor) -> Trace:
    """Run a network once, in eval mode, and record the outputs of all its modules.

    Every output is cloned, which makes it a node of the graph even if a layer returns its input (`nn.Identity`)
    or a view of it (`nn.Flatten`).

    >>> traced = trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(3, 1, 2, 2))
    >>> [calls[0].output.shape[1] for calls in traced.calls.values()]
    [4, 2, 2]
    """
    calls: dict[nn.Module, list[Call]] = {}

    def record(module: nn.Module, _args: Any, output: Any) -> Any:
        output = output.clone() if isinstance(output, Tensor) else output
        calls.setdefault(module, []).append(Call(output, getattr(output, "grad_fn", None)))
        return output

    with ExitStack() as hooks, torch.enable_grad(), evaluating(network):
        for module in network.modules():
            hooks.enter_context(module.register_forward_hook(record))
        start = images.detach().requires_grad_().clone()
        return Trace(start, network(start), calls)


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Put networks in eval mode within the context; afterwards each of their modules has its previous mode.

    >>> network = nn.Dropout()
    >>> with evaluating(network):
    ...     print(network.training)
    False
    >>> network.training
    True
    """
    modes = {module: module.training for network in networks for module in network.modules()}
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def bypassed(traced: Trace, through: Node | None) -> bool:
    """Whether the output depends on the input other than through this node.

    Follows the autograd graph from the output to the input along all paths that avoid the node. This is exact,
    whereas a numerical comparison would miss a path with a small contribution.
    """
    pending: list[Node | None] = [traced.output.grad_fn]
    seen: set[Node | None] = {None, through}
    while pending:
        node = pending.pop()
        if node is traced.input.grad_fn:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            pending.extend(parent for parent, _ in node.next_functions)
    return False


def why_not_splittable(module: nn.Module, traced: Trace) -> str | None:
    """Why a network cannot be split at a module, or None if it can."""
    calls = traced.calls.get(module, [])
    if not calls:
        return _why_never_called(module)
    if len(calls) > 1:
        return f"is called {len(calls)} times in one forward pass"
    output = calls[0].output
    if not isinstance(output, Tensor):
        return f"returns a {type(output).__name__}; expected a tensor"
    if output.ndim not in (2, 4):
        return f"returns a tensor of shape {tuple(output.shape)}; expected (B, C) or (B, C, H, W)"
    if bypassed(traced, calls[0].node):
        return "is bypassed: a skip connection or another branch leads around it to the output"
    return None


def _why_never_called(module: nn.Module) -> str:
    children = [name for name, _ in module.named_children()]
    if not children:
        return "is never called in the forward pass"
    return f"is a {type(module).__name__} that is never called itself, only its parts: {', '.join(children)}"


def splittable_layers(network: EndpointWrapper, traced: Trace) -> dict[str, Layer]:
    """The layers at which a network can be split, by name, in the order of the forward pass."""
    return {
        name: Layer(name, type(module).__name__, shape_of(calls[0].output))
        for module, calls in traced.calls.items()
        for name, layer in network.layers().items()
        if layer is module and why_not_splittable(module, traced) is None
    }


def output_of(network: EndpointWrapper, name: str, traced: Trace) -> Tensor:
    """The output of the layer of this name, if the network can be split there.

    Raises:
        InvalidInput: there is no such layer, or the network cannot be split there, with the reason.
    """
    layers = network.layers()
    if name not in layers:
        near = nearest(name, layers)
        suggestion = f"; nearest: {near}" if near else ""
        raise InvalidInput(f"layer {name!r} does not exist{suggestion}; {HOW_TO_LIST}")
    if reason := why_not_splittable(layers[name], traced):
        raise InvalidInput(f"layer {name!r} {reason}; {HOW_TO_LIST}")
    return traced.calls[layers[name]][0].output


def shape_of(output: Tensor) -> tuple[int, int, int]:
    """(C, H, W) of an output of rank 4; (C, 1, 1) of rank 2.

    >>> shape_of(torch.zeros(2, 5))
    (5, 1, 1)
    """
    channels, height, width = (*output.shape[1:], 1, 1)[:3]
    return channels, height, width


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
