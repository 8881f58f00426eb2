"""Base class of the training tasks: optimiser, learning rate, step counter, logging of the losses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn

from invariances.data.unpairing import unpaired
from invariances.errors import UserError

ENCODED = "encoded"  # key of a batch whose images went through the frozen networks before, see `Iterator.encoders`


class Iterator(pl.LightningModule, ABC):
    """A training task: a model and its loss for a batch of examples.

    Subclasses implement `terms`, and with several optimisers also `training_step` and `configure_optimizers`. Their
    constructors pass `**schedule` to this one.

    The optimiser is Adam with betas (0.5, 0.9); the learning rate is constant until `decay_start` and then falls
    linearly to 0 at `num_steps` (CVPR 2020 paper, released configs). `step` counts batches, also with
    several optimisers, and is part of the state dict.

    Args:
        model: network to train.
        learning_rate: of Adam, before the decay.
        num_steps: step at which the decay ends; without it the rate is constant.
        decay_start: step at which the decay begins; without it the rate is constant.
        weight_decay: decoupled from the gradients: each step takes learning_rate × weight_decay of the parameters away
            (Loshchilov and Hutter 2019), but for those of `undecayed`. Keeps flows from learning few images by heart.
        seed: the random numbers of a step depend on (seed, step) only, so that resuming a run does not change them.

    Attributes:
        inputs: keys that a batch must have.
    """

    inputs: tuple[str, ...] = ("image",)
    model: Any  # a torch.nn.Module; its other methods depend on the task
    step: Tensor

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        num_steps: int | None = None,
        decay_start: int | None = None,
        seed: int = 0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.learning_rate, self.num_steps, self.decay_start = learning_rate, num_steps, decay_start
        self.seed, self.weight_decay = seed, weight_decay
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def adam(self, parameters: Iterable[nn.Parameter], factor: float = 1.0) -> torch.optim.Adam:
        """Adam with the betas of the published configs; `factor` scales the learning rate."""
        # `scale` is kept in the parameter group, for the decay of each optimiser's own rate
        weights = list(parameters)
        rate, betas = factor * self.learning_rate, (0.5, 0.9)
        if not self.weight_decay:
            return torch.optim.Adam([{"params": weights, "scale": factor}], lr=rate, betas=betas, fused=True)
        spared = set(self.undecayed())
        parts = [
            ([each for each in weights if each not in spared], self.weight_decay),
            ([each for each in weights if each in spared], 0.0),
        ]
        groups = [{"params": part, "scale": factor, "weight_decay": decay} for part, decay in parts if part]
        return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)

    def undecayed(self) -> Iterable[nn.Parameter]:
        """Parameters that `weight_decay` leaves alone: none, unless a task says otherwise."""
        return ()

    def configure_optimizers(self) -> Any:
        """One Adam over the model's weights."""
        return self.adam(self.model.parameters())

    def decayed(self, step: int) -> float:
        """The learning rate at a step."""
        if self.decay_start is None or self.num_steps is None or step <= self.decay_start:
            return self.learning_rate
        remaining = (self.num_steps - step) / (self.num_steps - self.decay_start)
        return self.learning_rate * max(0.0, remaining)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the random numbers and set the learning rate of this step."""
        self._seed_step(int(self.step))
        rate = self.decayed(int(self.step))
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]

    def on_validation_epoch_start(self) -> None:
        """Use the same random numbers in every validation pass."""
        self._seed_step(-1)

    def _seed_step(self, step: int) -> None:
        torch.manual_seed((self.seed * 1_000_003 + step + 1) * 1009 + self.global_rank)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """The batch with the inputs of the task; for a task on images, both examples of a pair are images.

        Raises:
            UserError: an input is missing.
        """
        if ENCODED in batch:
            return batch
        batch = unpaired(batch) if "image" in self.inputs else batch
        if missing := [name for name in self.inputs if name not in batch]:
            raise UserError(
                f"datasets: the examples have {', '.join(batch)}; {type(self).__name__} also needs "
                f"{', '.join(missing)}"
            )
        return batch

    def encoders(self) -> dict[str, Callable[[Tensor], dict[str, Tensor]]]:
        """What each frozen network makes of a batch of images, if the images have no other use in the training.

        Attribute of the network -> function from images, (B, C, H, W), to named outputs, each (B, …). The outputs can
        be computed once for all epochs; `batch["encoded"]` has them then, in place of `image`.
        """
        return {}

    def encoded(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The outputs of all frozen networks for a batch: those that it brings, or else computed from its images."""
        if ENCODED in batch:
            return batch[ENCODED]
        with torch.no_grad():
            return {
                name: output for encode in self.encoders().values() for name, output in encode(batch["image"]).items()
            }

    @abstractmethod
    def terms(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The `loss` of a batch and other terms to log: name -> mean over the batch, of shape ()."""

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        """Return the loss of a batch, and log its terms."""
        terms = self.terms(batch)
        self.report(terms, "train")
        return terms["loss"]

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        """Log the terms of a batch of validation examples."""
        self.report(self.terms(batch), "validation", len(next(iter(batch.values()))))

    def facts(self) -> dict[str, Any]:
        """Facts about the model for `metrics.json`, such as its layer."""
        return {}

    def report(self, terms: dict[str, Tensor], split: str, n_examples: int = 1) -> None:
        """Log the terms of a loss as `split/name`, means over all processes; a training stops if one is not finite.

        Args:
            terms: name -> mean over the batch.
            split: `train` (logged at each step) or `validation` (averaged over the examples of a pass).
            n_examples: size of the batch, its weight in that average.

        Raises:
            UserError: a term of the training is not finite; raised before the optimiser's step, by all processes.
        """
        values = _mean_over_processes(torch.stack([term.detach().float().mean() for term in terms.values()]))
        if split == "train" and not values.isfinite().all():
            named = zip(terms, values.tolist(), strict=True)
            broken = ", ".join(f"{split}/{name} = {value:g}" for name, value in named)
            remedy = "lower the learning rate or check the data, then resume from the last checkpoint"
            raise UserError(f"step {int(self.step)}: the loss is not finite ({broken}); {remedy}")
        self.log_dict(
            {f"{split}/{name}": value for name, value in zip(terms, values, strict=True)},
            batch_size=n_examples,
            on_step=split == "train",
            on_epoch=split != "train",
            sync_dist=split != "train",
        )


def _mean_over_processes(values: Tensor) -> Tensor:
    """The mean over all processes of a distributed training; of one process, the values themselves."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    distributed.all_reduce(values)
    return values / distributed.get_world_size()
