"""Whether the autograd graph of a forward pass shows everything that the output depends on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Functions that take only shape, dtype and device of a tensor.
SHAPE_ONLY = {
    *(f"{name}_like" for name in ("empty", "zeros", "ones", "full", "rand", "randn", "randint")),
    *(f"new_{name}" for name in ("empty", "zeros", "ones", "full")),
}


class HiddenPaths(TorchFunctionMode):
    """Within the context, `found` becomes True if values leave the graph.

    They do under `no_grad`, in `detach()`, `.data`, `.item()`, comparisons, rounding, `argmax`, and inside of functions
    with a backward pass of their own, such as checkpointed blocks.

    >>> x = torch.ones(2, requires_grad=True)
    >>> with HiddenPaths() as seen:
    ...     y = 2 * x + x.new_zeros(2)
    ...     print(seen.found)
    ...     y = x * (x > 0)
    ...     print(seen.found)
    False
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and compare what it takes with what it returns."""
        result = func(*args, **(kwargs or {}))
        if not self.found and getattr(func, "__name__", "") not in SHAPE_ONLY:
            tracked = any(tensor.requires_grad for tensor in _tensors(args))
            self.found = tracked and (not torch.is_grad_enabled() or _leaves(result))
        return result


def _leaves(result: Any) -> bool:
    """Whether a result of tracked tensors is not tracked: a tensor without a graph, or a number with a value of it."""
    return isinstance(result, float) or any(not tensor.requires_grad for tensor in _tensors([result]))


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
