"""The class that a classifier predicts."""

from torch import Tensor

from invariances.errors import InvalidInput


def predicted_class(logits: object) -> Tensor:
    """The most likely class of each image, (B,).

    Args:
        logits: output of a classifier, (B, classes).

    Raises:
        InvalidInput: the shape is another, as from a network that is no classifier, or a value is not finite.

    >>> import torch
    >>> predicted_class(torch.tensor([[0.0, 1.0], [3.0, 2.0]]))
    tensor([1, 0])
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise InvalidInput(f"the classifier returned {found}; expected logits (B, classes); use a classifier")
    if broken := int((~logits.isfinite()).any(dim=1).sum()):
        raise InvalidInput(f"the classifier returned logits that are not finite for {broken} of {len(logits)} images")
    return logits.argmax(dim=1)
