"""Training a classifier."""

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from invariances.errors import UserError
from invariances.iterators.base import Iterator

LOSSES = {
    "binary_cross_entropy": lambda logits, target: functional.binary_cross_entropy_with_logits(
        logits, functional.one_hot(target, logits.shape[1]).to(logits)
    ),
    "cross_entropy": functional.cross_entropy,
}


class ClassifierIterator(Iterator):
    """Train a network from `image` to logits of `class`.

    Args:
        model: (B, C, H, W) in [-1, 1] -> logits (B, n_classes).
        classifier_loss: `binary_cross_entropy` on one-hot targets (the published recipe) or `cross_entropy`.
        **schedule: learning_rate, num_steps, decay_start, seed, weight_decay; see `Iterator`.
    """

    inputs = ("image", "class")

    def __init__(
        self,
        model: nn.Module,
        classifier_loss: Literal["binary_cross_entropy", "cross_entropy"] = "binary_cross_entropy",
        **schedule: Any,
    ) -> None:
        super().__init__(model, **schedule)
        self.classifier_loss = LOSSES[classifier_loss]

    def terms(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss and accuracy of a batch.

        Raises:
            UserError: a class that the model does not have.
        """
        logits = self.model(batch["image"])
        self._check_classes(batch["class"], logits.shape[1])
        accuracy = (logits.argmax(1) == batch["class"]).float().mean()
        return {"loss": self.classifier_loss(logits, batch["class"]), "accuracy": accuracy}

    @staticmethod
    def _check_classes(classes: Tensor, n_classes: int) -> None:
        low, high = int(classes.min()), int(classes.max())
        if low < 0 or high >= n_classes:
            raise UserError(
                f"datasets: an example has class {low if low < 0 else high}, but the model has {n_classes} classes, "
                f"0 to {n_classes - 1}; set Model/n_classes"
            )
