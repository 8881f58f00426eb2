"""The checkpoints of a training."""

from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from invariances.errors import UserError
from invariances.training.identity import NETWORKS, identities
from invariances.utils import checkpoints
from invariances.utils.weights import not_finite


class Checkpoints(pl.Callback):
    """Save `model-<step>.ckpt` every `every` steps and at the end; keep the newest `keep` files, or all.

    A checkpoint also holds the resolved config, so that it can be loaded without its run folder, and the identities of
    the frozen networks. Weights that are not finite are never saved. Amid accumulated gradients, which a checkpoint
    does not hold, the next optimiser step is awaited.

    The file is written at the end of a batch and gets its name when the losses of that batch are in the logs: a run
    that was killed in between resumes from the checkpoint before, and no row of the logs is lost.

    Args:
        folder: of the checkpoints.
        config: resolved.
        every: steps between two checkpoints.
        keep: number of files to keep, or "all".
        last_step: of the newest checkpoint.

    Attributes:
        is_due: whether to save as soon as possible.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], every: int, keep: int | Literal["all"], last_step: int = 0
    ) -> None:
        self.folder, self.config, self.every, self.keep = folder, config, every, keep
        self.last_step = last_step
        self.is_due = False
        self.networks: dict[str, dict[str, str]] = {}  # identities of the frozen networks
        self._written: int | None = None  # step of a file that is not published yet

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.networks = identities(pl_module)
        if trainer.is_global_zero:
            checkpoints.remove_parts(self.folder)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint[NETWORKS] = self.networks

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.should_stop or int(pl_module.step) % self.every == 0:
            self.is_due = True
        self.save_if_due(trainer, pl_module, batch_idx)

    def save_if_due(self, trainer: pl.Trainer, pl_module: Any, batch_idx: int) -> None:
        """Write a checkpoint at the end of a batch, unless gradients are being accumulated."""
        if self.is_due and (trainer.should_stop or _has_stepped(trainer, batch_idx)):
            self._write(trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._publish(trainer)

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._publish(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._publish(trainer)
        _share_buffers(trainer, pl_module)
        if self.last_step < int(pl_module.step):  # ended by an argument of the Trainer, such as max_time
            self._write(trainer, pl_module)
            self._publish(trainer)

    def has_written(self, pl_module: Any) -> bool:
        """Whether the checkpoint of this step is written, perhaps not yet published."""
        return int(pl_module.step) in (self._written, self.last_step)

    def save_best(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Save `best.ckpt`, which is never deleted.

        Raises:
            UserError: a weight is not finite.
        """
        path = self.folder / "best.ckpt"
        ours = self._path(self.last_step)
        if self.last_step == int(pl_module.step) and trainer.strategy.broadcast(ours.exists()):
            if trainer.is_global_zero:
                checkpoints.copy(ours, path)
        else:
            _require_finite(pl_module)
            checkpoints.save(trainer, path)

    def _write(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write a checkpoint, to be published later.

        Raises:
            UserError: a weight is not finite.
        """
        _require_finite(pl_module)
        self._written, self.is_due = int(pl_module.step), False
        checkpoints.write_part(trainer, self._path(self._written))

    def _publish(self, trainer: pl.Trainer) -> None:
        """Publish what has been written, then delete all but the newest `keep`."""
        if self._written is None:
            return
        for logger in trainer.loggers:  # on the disk before the checkpoint is: a kill leaves no gap in TensorBoard
            logger.save()
        if trainer.is_global_zero:
            checkpoints.publish(self._path(self._written))
            if self.keep != "all":
                checkpoints.prune(self.folder, self.keep)
        self.last_step, self._written = self._written, None

    def _path(self, step: int) -> Path:
        return self.folder / f"model-{step}.ckpt"


def _has_stepped(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether the optimiser has taken a step with all gradients so far."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


def _share_buffers(trainer: pl.Trainer, pl_module: Any) -> None:
    """Give all processes the buffers that are saved, as each batch does before its forward pass."""
    for buffer in pl_module.buffers() if trainer.world_size > 1 else ():
        torch.distributed.broadcast(buffer, 0)


def _require_finite(pl_module: Any) -> None:
    if broken := not_finite(pl_module):
        raise UserError(
            f"step {int(pl_module.step)}: {len(broken)} weights are not finite, first {broken[0]}; nothing was "
            "saved; lower the learning rate, then resume from the last checkpoint"
        )
