"""Networks that take part in training without being trained."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Frozen(nn.Module):
    """Hold a network out of training: constant weights, evaluation mode, invisible to its owner.

    A first stage, the network under study or a perceptual network stands inside a module that is trained. As
    an ordinary child it would enter the owner's `parameters()` and `state_dict()`, and `train()` on the owner
    would set its batch statistics and dropout going again. Here it is no child: only changes of device and
    dtype reach it. Gradients still flow through it to its input.

    Args:
        network: any module. It is itself put in evaluation mode and its weights stop requiring gradients.

    >>> owner = nn.ModuleList([Frozen(nn.BatchNorm2d(3))]).train()
    >>> owner[0].network.training, list(owner.parameters()), list(owner.state_dict())
    (False, [], [])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._hidden = (network.eval().requires_grad_(False),)  # in a tuple: not registered as a child

    @property
    def network(self) -> nn.Module:
        """The network itself."""
        return self._hidden[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network."""
        return self.network(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        """Change device or dtype, also of the network; `.to()`, `.double()`, `.cuda()` … call this."""
        super()._apply(fn, recurse)
        self.network._apply(fn, recurse)
        return self

    def extra_repr(self) -> str:
        """Name the network."""
        return type(self.network).__name__
