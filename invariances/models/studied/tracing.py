"""One forward pass of a network, with the outputs of all its modules."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from invariances.models.studied.hidden_paths import HiddenPaths

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One call of a module.

    A later in-place operation (ReLU, `out += identity`) makes the output point to another node.

    Attributes:
        module: the module.
        output: what it returned.
        node: that of the output in the autograd graph when the module finished.
        given, returned: the shapes of its first argument and of its output, None if they are no tensors.
    """

    module: nn.Module
    output: Any
    node: Node | None
    given: Sizes | None
    returned: Sizes | None


@dataclass(frozen=True)
class Trace:
    """One forward pass of a network.

    Attributes:
        input: the network's input.
        output: the network's output.
        calls: of all modules, in the order in which they finished.
        hidden: whether the output may depend on values in a way that the autograd graph does not show.
    """

    input: Tensor
    output: Tensor
    calls: list[Call]
    hidden: bool

    @cached_property
    def has_class_token(self) -> bool:
        """Whether the first of several tokens is a class token."""
        root = self.calls[-1].module  # finishes last
        return not any(getattr(part, "cls_token", 0) is None for part in root.modules())

    def of(self, module: nn.Module) -> list[Call]:
        """The calls of a module."""
        return [call for call in self.calls if call.module is module]


def trace(network: nn.Module, images: Tensor) -> Trace:
    """Run a network once, in eval mode, and record the outputs of all its modules.

    Every output is cloned, which makes it a node of the graph even if a layer returns its input (`nn.Identity`)
    or a view of it (`nn.Flatten`).

    >>> traced = trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(3, 1, 2, 2))
    >>> [call.returned for call in traced.calls]
    [(3, 4), (3, 2), (3, 2)]
    """
    calls: list[Call] = []

    def record(module: nn.Module, args: Any, output: Any) -> Any:
        output = output.clone() if isinstance(output, Tensor) else output
        given = args[0] if args else None
        calls.append(Call(module, output, getattr(output, "grad_fn", None), _sizes(given), _sizes(output)))
        return output

    with ExitStack() as contexts, torch.enable_grad(), evaluating(network), eagerly(network):
        for module in network.modules():
            contexts.enter_context(module.register_forward_hook(record))
        start = images.detach().requires_grad_().clone()
        paths = contexts.enter_context(HiddenPaths())
        output = network(start)
    return Trace(start, output, calls, paths.found)


def _sizes(value: Any) -> Sizes | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


@contextmanager
def eagerly(network: nn.Module) -> Iterator[None]:
    """Within the context, compiled parts of a network run as they were written, and so with hooks."""
    if not any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in network.modules()):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


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
