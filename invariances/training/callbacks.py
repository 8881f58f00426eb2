"""Callbacks of the training loop: count steps, evaluate, keep the best checkpoint, draw pictures."""

import json
import logging
import math
import shutil
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from invariances.data.loader import Loader
from invariances.errors import UserError
from invariances.evaluation import Drawing, Evaluation, evaluate, first_examples
from invariances.evaluation.base import Batches, evaluation_mode
from invariances.training.loggers.wandb import Wandb
from invariances.training.run import UNFINISHED
from invariances.training.saving import Checkpoints
from invariances.utils.files import read_bytes
from invariances.utils.images import save_png
from invariances.utils.names import hint

log = logging.getLogger(__name__)


class StepCounter(pl.Callback):
    """Count each batch once, and end the training at `num_steps`. Comes before all callbacks that read the counter."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        loop = trainer.fit_loop
        if loop.restarted_mid_epoch and loop.epoch_loop.batch_progress.is_last_batch:
            # Lightning would not count the epoch that begins now, and a checkpoint within it would be resumed with
            # the number of its batches forgotten
            loop.reset_restart_stage()
        cast(Loader, trainer.train_dataloader).limit = trainer.num_training_batches

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        pl_module.step += 1
        # the axis of all logs
        pl_module.log_dict({"step": pl_module.step.float(), "epoch": float(trainer.current_epoch)}, on_epoch=False)
        trainer.should_stop = trainer.should_stop or int(pl_module.step) >= self.num_steps


class Evaluations(pl.Callback):
    """Run the evaluations at the end of each validation pass; write and log `metrics.json` and pictures.

    In a training, the folder holds a file `.unfinished` until all is written and logged; a resumed run makes up for
    such a pass.

    Args:
        evaluations: name -> evaluation.
        folder: folder to write to.
        by_step: whether the pass at step n writes to `folder/step-<n>/`.
    """

    def __init__(self, evaluations: dict[str, Evaluation], folder: Path, by_step: bool = True) -> None:
        self.evaluations, self.folder, self.by_step = evaluations, folder, by_step
        self.last_step: int | None = None  # of the last pass; the end of the training does not repeat it
        self.missing: dict[str, str] = {}  # name -> error, of evaluations that failed in the last pass
        self.numbers: dict[str, float] = {}  # of the last pass alone; `callback_metrics` keeps those of earlier passes

    def folder_of(self, step: int) -> Path:
        """Where the pass at a step writes to."""
        return self.folder / f"step-{step:08d}" if self.by_step else self.folder

    def is_begun(self, step: int) -> bool:
        """Whether there was a pass at this step, whole or not."""
        return self.folder_of(step).exists()

    def is_whole(self, step: int) -> bool:
        """Whether the pass at this step came to its end, and nothing is missing."""
        folder = self.folder_of(step)
        return not (folder / UNFINISHED).exists() and _stored(folder).get("missing") == {}

    def recall(self, step: int) -> None:
        """Take the numbers of an earlier pass for those of the last one."""
        found = _stored(self.folder_of(step))["metrics"]
        self.numbers = {name: math.nan if value is None else float(value) for name, value in found.items()}

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.last_step = int(pl_module.step)
        if trainer.is_global_zero:
            folder = self.folder_of(self.last_step)
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
            folder.mkdir(parents=True)
            if self.by_step:
                (folder / UNFINISHED).touch()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        step = int(pl_module.step)
        if trainer.is_global_zero:
            losses = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("validation/")}
            loader, folder = cast(Batches, trainer.val_dataloaders), self.folder_of(step)
            results = evaluate(self.evaluations, pl_module, loader, folder, losses)
            self.missing, self.numbers = results.missing, losses | results.metrics
            pl_module.log_dict(results.metrics, rank_zero_only=True)
            _show_pictures(trainer, folder, step)
        trainer.strategy.barrier("evaluations")
        pl_module.log("step", float(step), sync_dist=True)  # the axis of all logs

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            (self.folder_of(int(pl_module.step)) / UNFINISHED).unlink(missing_ok=True)


def _stored(folder: Path) -> dict[str, Any]:
    """The contents of `metrics.json`; empty if there is none, or it is damaged."""
    with suppress(OSError, ValueError):
        found = json.loads(read_bytes(folder / "metrics.json"))
        return found if isinstance(found, dict) else {}
    return {}


class KeepBest(pl.Callback):
    """Save `best.ckpt` after each evaluation whose metric is the best so far; end a training that no longer improves.

    Accuracies and agreements are best high, all other metrics low. The best value is part of the checkpoints, so a
    resumed run goes on comparing; that of the evaluation after the checkpoint is read from its `metrics.json`.

    Args:
        saver: writes the checkpoint.
        evaluations: measure the metric.
        metric: such as `validation/loss`, or any number in `metrics.json`; of a pattern such as `fid_*` the first
            match, and where there is none a warning in place of a checkpoint.
        patience: evaluations without a better value after which the training ends; None: it never does.
    """

    def __init__(self, saver: Checkpoints, evaluations: Evaluations, metric: str, patience: int | None = None) -> None:
        self.saver, self.evaluations, self.metric, self.patience = saver, evaluations, metric, patience
        self.best, self.n_worse, self.step = math.inf, 0, 0  # step of the last evaluation that was compared
        self.is_restored = False  # from the checkpoint

    @property
    def is_exhausted(self) -> bool:
        """Whether too many evaluations had no better value."""
        return self.patience is not None and self.n_worse >= self.patience

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.is_restored = True
        if self.evaluations.is_whole(int(pl_module.step)):
            self.evaluations.recall(int(pl_module.step))
            self._compare(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.is_restored:
            self._compare(trainer, pl_module)

    def _compare(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Compare the numbers of the last evaluation with the best so far, each evaluation once."""
        step, value = int(pl_module.step), trainer.strategy.broadcast(self._lower_is_better())
        if step > self.step:
            self.n_worse, self.step = 0 if value < self.best else self.n_worse + 1, step
            if value < self.best:
                self.best = value
                self.saver.save_best(trainer, pl_module)
        if self.is_exhausted:
            log.info("step %d: %s has not improved in %d evaluations", step, self.metric, self.n_worse)
            trainer.should_stop = True

    def _lower_is_better(self) -> float:
        numbers = self.evaluations.numbers
        names = [name for name in numbers if fnmatchcase(name, self.metric)]
        if not names:
            self._missing(numbers)
            return math.inf
        sign = -1 if "accuracy" in self.metric or "agreement" in self.metric else 1
        return sign * numbers[names[0]]

    def _missing(self, numbers: dict[str, float]) -> None:
        """A pattern may match nothing, such as `fid_*` where `fid` is switched off; a name is a mistake then."""
        message = f"keep_best: {self.metric} was not measured"
        if numbers and "*" not in self.metric:
            raise UserError(f"{message}{hint(self.metric, numbers)}")
        if numbers:
            log.warning("%s, so there is no best checkpoint", message)

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "n_worse": self.n_worse, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best, self.n_worse = state_dict["best"], int(state_dict["n_worse"])
        self.step, self.is_restored = int(state_dict.get("step", 0)), True


class TrainingPictures(pl.Callback):
    """Draw the first validation images every `every` steps, to PNG files and to loggers that take pictures.

    Args:
        evaluations: name -> evaluation; each `Drawing` is used.
        loader: of the validation split.
        folder: the picture at step n is `folder/<name>-<n>.png`.
        every: steps between two pictures.
    """

    def __init__(self, evaluations: dict[str, Evaluation], loader: Any, folder: Path, every: int) -> None:
        self.drawings = {name: each for name, each in evaluations.items() if isinstance(each, Drawing)}
        self.loader, self.folder, self.every = loader, folder, every
        self.images: Any = None  # loaded at first use

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self.drawings and trainer.is_global_zero and int(pl_module.step) % self.every == 0:
            with evaluation_mode(pl_module):
                for name in list(self.drawings):
                    self._draw(name, trainer, pl_module)

    def _draw(self, name: str, trainer: pl.Trainer, pl_module: Any) -> None:
        step = int(pl_module.step)
        try:
            for title, pixels in self.drawings[name].draw(pl_module, self._images(pl_module)).items():
                self.folder.mkdir(parents=True, exist_ok=True)
                save_png(self.folder / f"{title}-{step:08d}.png", pixels)
                _show_picture(trainer, title, pixels.cpu().numpy(), step)
        except Exception as error:  # logged: a picture that fails must not end the training
            del self.drawings[name]
            log.warning("picture %s is missing from step %d on: %s: %s", name, step, type(error).__name__, error)

    def _images(self, pl_module: Any) -> Any:
        if self.images is None:
            most = max(drawing.n_images for drawing in self.drawings.values())
            self.images = first_examples(self.loader, most, pl_module.device)["image"]
        return self.images


def _show_pictures(trainer: pl.Trainer, folder: Path, step: int) -> None:
    for path in sorted(folder.glob("*.png")):
        _show_picture(trainer, path.stem, np.asarray(Image.open(path).convert("RGB")), step)


def _show_picture(trainer: pl.Trainer, name: str, pixels: Any, step: int) -> None:
    """Log a picture, uint8 (H, W, 3), to every logger that takes pictures."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, pixels, step, dataformats="HWC")
        elif isinstance(logger, Wandb):
            logger.log_image(name, pixels, step)
