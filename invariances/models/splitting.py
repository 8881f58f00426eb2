"""At which layers a network can be split in two, as the autograd graph of one forward pass shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from invariances.errors import InvalidInput
from invariances.models.studied.channel_order import layout_of
from invariances.models.studied.layout import Shape, Tokens, Vector, shape_of
from invariances.models.studied.tracing import Call, Trace


@dataclass(frozen=True)
class Layer:
    """A layer at which a network can be split, as listed by `Greybox.layers`.

    Attributes:
        name: as in `named_modules()`, or `input` or `softmax`.
        type: the module's class.
        shape: (C, H, W) of its output; (C, 1, 1) for vectors.
        tokens: what is taken of a transformer's tokens, see `Greybox`; None for other layers.

    >>> from invariances.models import DigitClassifier, Greybox
    >>> Greybox.layers(DigitClassifier())[-2]
    Layer(name='logits', type='Linear', shape=(10, 1, 1), tokens=None)
    """

    name: str
    type: str
    shape: Shape
    tokens: str | None = None


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
            InvalidInput: the network's output is not a tensor of rows.
        """
        return self.softmax(rows_of(self.network(self.input(x))))


def rows_of(output: Any, n_images: int | None = None) -> Tensor:
    """The output of a network, if it is one tensor of rows.

    Args:
        output: of the network.
        n_images: of which each should have a row; None for any number.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(output, Tensor):
        keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        raise InvalidInput(
            f"the network returns a {type(output).__name__}{keys}; expected one tensor: wrap it in a module that "
            "returns its logits, such as class Logits(torch.nn.Module) with forward(x) returning net(x)[...]"
        )
    if output.ndim < 2 or n_images not in (None, len(output)):
        number = "" if n_images is None else f" for {n_images} image{'s' * (n_images > 1)}"
        raise InvalidInput(
            f"the network returns a tensor of shape {tuple(output.shape)}{number}; expected (B, C) or (B, C, H, W), a "
            "row for each of B images: leave out a squeeze, or use flatten(1) in its place"
        )
    return output


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


def why_not_readable(module: nn.Module, traced: Trace) -> str | None:
    """Why the output of a module is no representation, or None if it is one."""
    calls = traced.of(module)
    if not calls:
        return _why_never_called(module)
    if len(calls) > 1:
        return f"is called {len(calls)} times in one forward pass"
    if calls[0].returned is None:
        return f"returns a {type(calls[0].output).__name__}; expected a tensor"
    if layout_at(module, traced) is None:
        return f"returns a tensor of shape {calls[0].returned}; expected (B, C) or (B, C, H, W), or tokens (B, N, C)"
    return None


def why_not_splittable(module: nn.Module, traced: Trace) -> str | None:
    """Why a network cannot be split at a module as far as the autograd graph shows, or None if it can."""
    node = traced.of(module)[0].node
    if node is not None and bypassed(traced, node):
        return "is bypassed: a skip connection or another branch leads around it to the output"
    if node is None and not traced.hidden:
        return "does not depend on the images"
    return None


def _why_never_called(module: nn.Module) -> str:
    children = [name for name, _ in module.named_children()]
    if not children:
        return "is never called in the forward pass"
    return f"is a {type(module).__name__} that is never called itself, only its parts: {', '.join(children)}"


def layout_at(module: nn.Module, traced: Trace) -> Vector | None:
    """How the output of a module that is called once is read; tokens are read as a whole."""
    index = next(index for index, call in enumerate(traced.calls) if call.module is module)
    return layout_of(index, traced.calls, traced.has_class_token)


def split_calls(network: EndpointWrapper, traced: Trace) -> list[tuple[str, Call]]:
    """Names and calls of the modules at which a network can be split as far as the graph shows, in order."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in network.layers().items():
        names.setdefault(module, []).append(name)
    return [
        (name, call)
        for call in traced.calls
        if call.module in names
        if not (why_not_readable(call.module, traced) or why_not_splittable(call.module, traced))
        for name in names[call.module]
    ]


def splittable_layers(network: EndpointWrapper, traced: Trace) -> list[Layer]:
    """The layers at which a network can be split as far as the graph shows, in the order of the forward pass."""
    found = split_calls(network, traced)
    gradients = _gradients([call for _, call in found if len(call.returned or ()) == 3], traced)
    return [
        Layer(name, type(call.module).__name__, shape_of(layout.read(call.output)), layout.tokens)
        for name, call in found
        for layout in exact_layouts(call, traced, gradients.get(call.module))
    ]


def exact_layouts(call: Call, traced: Trace, gradient: Tensor | None) -> list[Vector]:
    """The ways to read the output of a layer that determine the network's output, at least to first order.

    A part of the tokens does so if the others are the same for all images, or if the output does not depend on them;
    their mean, if in addition the output depends on each patch in the same way.

    Args:
        call: of the layer.
        traced: the forward pass.
        gradient: of a combination of the network's outputs with respect to the output of a layer of tokens.
    """
    layout = layout_at(call.module, traced)
    if not isinstance(layout, Tokens):
        return [] if layout is None else [layout]
    others = [choice for choice in layout.choices() if choice.tokens != "all"]
    return [layout, *(choice for choice in others if gradient is not None and _suffices(choice, call, gradient))]


def _gradients(calls: list[Call], traced: Trace) -> dict[nn.Module, Tensor]:
    """Gradients of a random combination of the network's outputs with respect to the outputs of layers."""
    tracked = {call.module: call.output for call in calls if call.output.requires_grad}
    if not tracked or not traced.output.requires_grad:
        return {}
    direction = torch.randn(traced.output.shape, generator=torch.Generator().manual_seed(0)).to(traced.output)
    found = torch.autograd.grad(
        traced.output, list(tracked.values()), direction, retain_graph=True, allow_unused=True
    )
    return {module: value for module, value in zip(tracked, found, strict=True) if value is not None}


def _suffices(choice: Tokens, call: Call, gradient: Tensor) -> bool:
    output = call.output.detach()
    kept = choice.read(gradient)
    left_out = gradient - choice.write(kept, torch.zeros_like(gradient))
    moving = (output != output[:1]).any(dim=0)
    rounding = 1e-5 if choice.tokens == "mean" else 0.0
    return not (left_out[:, moving].abs() > rounding * gradient.abs().max()).any()
