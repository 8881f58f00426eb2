"""What a classifier says."""

from typing import Any

from torch import Tensor


def predicted_class(logits: Any) -> Tensor:
    """The most likely class of each image, (B,).

    Args:
        logits: what a classifier gives, (B, classes).

    Raises:
        ValueError: they are something else, as from a network that is no classifier, or not finite.

    >>> import torch
    >>> predicted_class(torch.tensor([[0.0, 1.0], [3.0, 2.0]]))
    tensor([1, 0])
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"the classifier gives {found}; expected logits (B, classes): name a network that classifies")
    if broken := int((~logits.isfinite()).any(dim=1).sum()):
        raise ValueError(f"the classifier gives logits that are not finite for {broken} of {len(logits)} images")
    return logits.argmax(dim=1)
