"""Callbacks of the training loop: count steps, save checkpoints, stop on signals, evaluate, draw pictures."""

import logging
import math
import shutil
import signal
import threading
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from invariances.errors import Stopped, UserError
from invariances.evaluation import Drawing, Evaluation, evaluate, first_examples
from invariances.evaluation.base import Batches
from invariances.training.identity import NETWORKS, identities
from invariances.training.loggers.wandb import Wandb
from invariances.utils import checkpoints
from invariances.utils.images import save_png
from invariances.utils.names import hint

log = logging.getLogger(__name__)


class StepCounter(pl.Callback):
    """Count each batch once, and end the training at `num_steps`. Comes before all callbacks that read the counter."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        pl_module.step += 1
        trainer.should_stop = trainer.should_stop or int(pl_module.step) >= self.num_steps


class Checkpoints(pl.Callback):
    """Save `model-<step>.ckpt` every `every` steps and at the end; keep the newest `keep` files, or all.

    A checkpoint also holds the resolved config, so that it can be loaded without its run folder, and the identities of
    the frozen networks. Weights that are not finite are never saved.

    Args:
        folder: of the checkpoints.
        config: resolved.
        every: steps between two checkpoints.
        keep: number of files to keep, or "all".
    """

    def __init__(self, folder: Path, config: dict[str, Any], every: int, keep: int | Literal["all"]) -> None:
        self.folder, self.config, self.every, self.keep = folder, config, every, keep
        self.last_step = 0  # of the newest checkpoint
        self.networks: dict[str, dict[str, str]] = {}  # identities of the frozen networks

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.last_step, self.networks = int(pl_module.step), identities(pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint[NETWORKS] = self.networks

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.should_stop or int(pl_module.step) % self.every == 0:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.last_step < int(pl_module.step):  # ended by an argument of the Trainer, such as max_time
            self.save(trainer, pl_module)

    def save(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Save a checkpoint, then delete all but the newest `keep`.

        Raises:
            UserError: a weight is not finite.
        """
        step = int(pl_module.step)
        self._save_finite(trainer, pl_module, f"model-{step}.ckpt")
        self.last_step = step
        if trainer.is_global_zero and self.keep != "all":
            checkpoints.prune(self.folder, self.keep)

    def save_best(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Save `best.ckpt`, which is never deleted.

        Raises:
            UserError: a weight is not finite.
        """
        self._save_finite(trainer, pl_module, "best.ckpt")

    def _save_finite(self, trainer: pl.Trainer, pl_module: Any, name: str) -> None:
        broken = [name for name, weight in pl_module.named_parameters() if not weight.isfinite().all()]
        if broken:
            raise UserError(
                f"step {int(pl_module.step)}: {len(broken)} weights are not finite, first {broken[0]}; nothing was "
                "saved; lower the learning rate, then resume from the last checkpoint"
            )
        checkpoints.save(trainer, self.folder / name)


class StopOnSignal(pl.Callback):
    """On Ctrl-C or SIGTERM finish the batch, save, and exit with code 130 or 143; a second signal ends at once.

    Used as a context manager around `fit`, which restores the signal handlers.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.received: int | None = None
        self.saved = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python handles signals there only
            self.previous = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for signum, handler in self.previous.items():
            signal.signal(signum, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        # not earlier: Lightning would replace them by its own handler, which exits with code 0 on SIGTERM
        for signum in self.previous:
            signal.signal(signum, self._receive)

    def _receive(self, signum: int, frame: Any) -> None:
        self.received = signum
        signal.signal(signum, signal.SIG_DFL)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self.received is not None:
            self.checkpoints.save(trainer, pl_module)
            self.saved = True

    # The batch's losses are logged after `on_train_batch_end`, and then a due evaluation runs; a resumed run repeats
    # neither. So exit in the hook after these.

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self._exit_if_saved(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._exit_if_saved(pl_module)

    def _exit_if_saved(self, pl_module: Any) -> None:
        if self.received is not None and self.saved:
            raise Stopped(self.received, f" after step {int(pl_module.step)}; the state is saved")


class Evaluations(pl.Callback):
    """Run the evaluations at the end of each validation pass; write and log `metrics.json` and pictures.

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

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.last_step = int(pl_module.step)
        if trainer.is_global_zero:
            folder = self.folder / f"step-{self.last_step:08d}" if self.by_step else self.folder
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
            folder.mkdir(parents=True)
            losses = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("validation/")}
            results = evaluate(self.evaluations, pl_module, cast(Batches, trainer.val_dataloaders), folder, losses)
            metrics, self.missing = results.metrics, results.missing
            pl_module.log_dict(metrics, rank_zero_only=True)
            self.numbers = losses | metrics
            _show_pictures(trainer, folder, self.last_step)
        trainer.strategy.barrier("evaluations")


class KeepBest(pl.Callback):
    """Save `best.ckpt` after each evaluation whose metric is the best so far; end a training that no longer improves.

    Accuracies and agreements are best high, all other metrics low. The best value is part of the checkpoints, so a
    resumed run goes on comparing.

    Args:
        saver: writes the checkpoint.
        evaluations: measure the metric.
        metric: such as `validation/loss`, or any number in `metrics.json`; of a pattern such as `fid_*` the first
            match, and where there is none a warning in place of a checkpoint.
        patience: evaluations without a better value after which the training ends; None: it never does.
    """

    def __init__(self, saver: Checkpoints, evaluations: Evaluations, metric: str, patience: int | None = None) -> None:
        self.saver, self.evaluations, self.metric, self.patience = saver, evaluations, metric, patience
        self.best, self.n_worse = math.inf, 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        value = trainer.strategy.broadcast(self._lower_is_better())
        self.n_worse = 0 if value < self.best else self.n_worse + 1
        if value < self.best:
            self.best = value
            self.saver.save_best(trainer, pl_module)
        elif self.patience is not None and self.n_worse >= self.patience:
            log.info("step %d: %s has not improved in %d evaluations", int(pl_module.step), self.metric, self.n_worse)
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
        return {"best": self.best, "n_worse": self.n_worse}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best, self.n_worse = state_dict["best"], int(state_dict["n_worse"])


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
            pl_module.eval()
            for name in list(self.drawings):
                self._draw(name, trainer, pl_module)
            pl_module.train()

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
