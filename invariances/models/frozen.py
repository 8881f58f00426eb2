"""Networks that take part in training without being trained."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Frozen(nn.Module, Generic[Network]):
    """A network excluded from training: constant weights, evaluation mode, not a child of its owner.

    For networks that a trained module uses: a first stage, the network under study, a perceptual network. As a
    child module it would appear in the owner's `parameters()` and `state_dict()`, and `train()` on the owner would
    switch on its dropout and batch statistics. Here only changes of device and dtype reach it. Gradients flow
    through it to its input.

    Args:
        network: any module. It is switched to evaluation mode, and its parameters' `requires_grad` to False.

    >>> owner = nn.ModuleList([Frozen(nn.BatchNorm2d(3))]).train()
    >>> owner[0].network.training, list(owner.parameters()), list(owner.state_dict())
    (False, [], [])
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._hidden = (network.eval().requires_grad_(False),)  # in a tuple: not registered as a child

    @property
    def network(self) -> Network:
        """The network itself."""
        return self._hidden[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network."""
        return self.network(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen[Network]":
        """Change device or dtype, also of the network; `.to()`, `.double()`, `.cuda()` … call this."""
        super()._apply(fn, recurse)
        self.network._apply(fn, recurse)
        return self

    def extra_repr(self) -> str:
        """The network's class."""
        return type(self.network).__name__
