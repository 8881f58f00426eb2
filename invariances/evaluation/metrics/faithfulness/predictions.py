"""What the network under study predicts for real images."""

import logging

from torch import Tensor

from invariances.evaluation.metrics.estimate import Estimate

log = logging.getLogger(__name__)


def network_accuracy(logits: Tensor, classes: Tensor | None) -> dict[str, Estimate]:
    """`network_accuracy`: share of the images whose predicted class is their label.

    Empty without labels, and where the output is not logits of the classes that the labels have: if it has fewer, or
    more than twice as many as there are different labels, such as ImageNet's for images of ten classes.

    Args:
        logits: (n, …), of a classifier (n, classes).
        classes: labels, (n,) integers from 0 on.

    >>> import torch
    >>> network_accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0]))["network_accuracy"].value
    0.75
    """
    if classes is None or logits.ndim != 2 or not classes.max() < logits.shape[1] <= 2 * len(classes.unique()):
        return {}
    return {"network_accuracy": Estimate.proportion((logits.argmax(dim=1) == classes).double())}


def predicted_classes(logits: Tensor) -> dict[str, float]:
    """`predicted_classes`: number of different classes that are predicted; empty for no logits (n, classes).

    If it is 1, a warning is logged: any sample then agrees in the class.
    """
    if logits.ndim != 2:
        return {}
    found = logits.argmax(dim=1).unique()
    if len(found) == 1:
        log.warning(
            "the network predicts class %d for all %d images: class_agreement says nothing", int(found), len(logits)
        )
    return {"predicted_classes": float(len(found))}
