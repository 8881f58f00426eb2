"""Tensors that are computed from weights alone, kept while the weights are frozen."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def is_frozen(module: nn.Module) -> bool:
    """Whether a module is in evaluation mode, and none of its weights requires a gradient."""
    return not module.training and not any(weight.requires_grad for weight in module.parameters())


class Kept:
    """A tensor computed from the weights of a module, computed once while the module is frozen.

    It is computed anew after a change of a weight in place, of its device or of its precision. Copies of it are empty.

    >>> layer, kept = nn.Linear(2, 2).requires_grad_(False).eval(), Kept()
    >>> first = kept(layer, lambda: layer.weight + 1)
    >>> kept(layer, lambda: layer.weight + 1) is first
    True
    >>> layer.weight.zero_()[0]
    tensor([0., 0.])
    >>> kept(layer, lambda: layer.weight + 1)[0]
    tensor([1., 1.])
    """

    def __init__(self) -> None:
        self._found: tuple[list[int], list[Tensor], Tensor] | None = None

    def __call__(self, module: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
        """Return the tensor, computed or kept.

        Args:
            module: its parameters and buffers are what the tensor depends on.
            compute: -> the tensor.
        """
        weights = [*module.parameters(), *module.buffers()]
        if not is_frozen(module) or any(weight.is_inference() for weight in weights):
            return compute()
        now, found = [number for weight in weights for number in (weight.data_ptr(), weight._version)], self._found
        if found is None or found[0] != now:
            # the weights are held, too: their memory, by which they are told apart, is not used for others
            held = [weight.detach() for weight in weights]
            with torch.inference_mode(False), torch.no_grad(), torch.autocast(held[0].device.type, enabled=False):
                self._found = found = (now, held, compute())
        return found[2]

    def __reduce__(self) -> Any:
        """Copies are empty."""
        return Kept, ()
