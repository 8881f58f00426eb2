"""From a checked config to a trained and evaluated model: Lightning's Trainer around an iterator."""

import logging
import traceback
import warnings
from collections.abc import Generator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from invariances.config.building import build_evaluations, build_integrations, build_iterator, build_loader
from invariances.data.loader import Loader
from invariances.errors import InvalidInput, UserError
from invariances.evaluation import Evaluation
from invariances.evaluation.report.page import can_report, write_report
from invariances.iterators import Iterator
from invariances.training.callbacks import Checkpoints, Evaluations, StepCounter, StopOnSignal, TrainingPictures
from invariances.training.progress import EvaluationProgress, Progress
from invariances.training.run import Run
from invariances.utils import checkpoints

log = logging.getLogger(__name__)

# What Lightning raises for settings that do not go together, or not with this machine.
REFUSALS = (MisconfigurationException, TypeError, ValueError, RuntimeError)

# Lightning's advice that does not hold here.
NEEDLESS = (
    "does not have many workers",  # data sets make whole batches at once
    "smaller than the logging interval",  # steps count, whatever the length of an epoch
    "callbacks used to create the checkpoint",  # ours keep nothing in it
    "isinstance.treespec",  # its own use of torch
)

DEBUG_STEPS = 3


def train(
    config: dict[str, Any],
    run: Run,
    checkpoint: Path | None = None,
    restart: bool = False,
    debug: bool = False,
) -> None:
    """Train, evaluating after each epoch and at the end.

    Args:
        config: checked and resolved.
        run: where everything is written.
        checkpoint: go on from it: weights, optimiser, step counter and place in the epoch.
        restart: take the weights of `checkpoint` only, and count from 0.
        debug: a few steps on a few examples.
    """
    built = _build(config, checkpoint, train=True, resume=not restart, debug=debug)
    num_steps = config.get("num_steps") or config["num_epochs"] * len(built.train_loader)
    begin = 0 if restart else int(built.iterator.step)
    built.iterator.step.fill_(begin)
    if begin >= num_steps and not debug:
        _finished(run, checkpoint or run.path, num_steps)
    else:
        built.iterator.num_steps = begin + DEBUG_STEPS if debug else num_steps
        _fit(built, None if restart else checkpoint, config, run, debug)


@dataclass(frozen=True)
class _Built:
    """What a config describes. A run that only evaluates has no use for `train_loader`, and its validation split."""

    train_loader: Loader
    validation_loader: Loader
    iterator: Iterator
    evaluations: dict[str, Evaluation]


def _build(config: dict[str, Any], checkpoint: Path | None, train: bool, resume: bool, debug: bool) -> _Built:
    """Data, evaluations, and the iterator with its networks, in the state of the checkpoint if there is one."""
    validation = build_loader(config, "validation", debug)
    pl.seed_everything(config["seed"], verbose=False)  # before any weight is drawn
    built = _Built(
        build_loader(config, "train", debug) if train else validation,
        validation,
        build_iterator(config, num_steps=1),
        build_evaluations(config, debug),
    )
    if checkpoint is not None:
        checkpoints.restore(built.iterator, checkpoint, resume)
    return built


def _fit(built: _Built, resumed: Path | None, config: dict[str, Any], run: Run, debug: bool) -> None:
    """Train an iterator to its last step, from a checkpoint on if there is one."""
    iterator, begin, num_steps = built.iterator, int(built.iterator.step), int(built.iterator.num_steps or 0)
    log_freq = DEBUG_STEPS if debug else config["log_freq"]
    keeper = Checkpoints(run.checkpoints, config, config["ckpt_freq"], config["keep_checkpoints"])
    stop, evaluations = StopOnSignal(keeper), Evaluations(built.evaluations, run.path / "train" / "eval")
    pictures = TrainingPictures(built.evaluations, built.validation_loader, run.path / "train" / "pictures", log_freq)
    trainer = _trainer(
        config,
        run,
        [StepCounter(num_steps), keeper, stop, pictures, evaluations, Progress(num_steps, evaluations)],
        log_every_n_steps=1 if debug else log_freq,
        check_val_every_n_epoch=DEBUG_STEPS if debug else 1,
        logger=_loggers(config, run, debug),
    )
    with stop, _first_batch_explained(iterator, built.train_loader, config["batch_size"]):
        trainer.fit(iterator, built.train_loader, built.validation_loader, ckpt_path=resumed, weights_only=True)
    if int(iterator.step) == begin:
        raise UserError("trainer: the training ended before its first step; look at limit_train_batches and the like")
    if evaluations.last_step != int(iterator.step):
        trainer.validate(iterator, built.validation_loader, verbose=False)


def _finished(run: Run, checkpoint: Path, num_steps: int) -> None:
    """Say that there is nothing left to train; a new run that was to go on from another's end is refused."""
    told = f"has finished its {num_steps} steps; raise num_steps to train on"
    if checkpoint.parent.resolve() != run.checkpoints.resolve():
        raise UserError(f"{checkpoint}: {told}")
    log.info("%s %s", run.path, told)


def evaluate(config: dict[str, Any], run: Run, checkpoint: Path, debug: bool = False) -> Path:
    """Evaluate a checkpoint on the validation split.

    Args:
        config: checked and resolved.
        run: its folder `eval/<time>` takes `metrics.json`, the pictures and, for a conditional or a disentangling
            INN, a report; nothing else in it changes.
        checkpoint: of the iterator that the config names.
        debug: on a few examples.

    Returns:
        the folder that was written.

    Raises:
        UserError: an evaluation failed; all others have been written.
    """
    built = _build(config, checkpoint, train=False, resume=False, debug=debug)
    folder = run.new_evaluation()
    evaluations = Evaluations(built.evaluations, folder, by_step=False)
    trainer = _trainer(config, run, [EvaluationProgress(evaluations), evaluations], logger=False)
    with _trainer_explained():
        trainer.validate(built.iterator, built.validation_loader, verbose=False)
    if trainer.is_global_zero and can_report(folder):
        print(write_report([run.path], folder))
    _require_all(evaluations.missing, folder)
    return folder


def _require_all(missing: dict[str, str], folder: Path) -> None:
    """Refuse to end well where a measure that was asked for is missing."""
    if missing:
        reasons = "; ".join(f"evaluation {name} is missing ({reason})" for name, reason in missing.items())
        raise UserError(f"{folder}: {reasons}; all others are in metrics.json there")


@contextmanager
def _first_batch_explained(iterator: Iterator, loader: Loader, batch_size: int) -> Generator[None]:
    """A UserError where our code refuses the first batch; errors of other code stay as they are."""
    before = int(iterator.step)
    try:
        with _trainer_explained():
            yield
    except InvalidInput as error:
        if int(iterator.step) > before:
            raise
        facts = f"{len(cast(Sized, loader.dataset))} example(s), batch_size {batch_size}"
        raise UserError(f"datasets/train: {facts}; the first batch is refused: {error}") from error


def _loggers(config: dict[str, Any], run: Run, debug: bool) -> list[Logger]:
    """CSV and TensorBoard, and what the config asks for beside them."""
    local: list[Logger] = [
        CSVLogger(run.path / "train", name="csv", version=run.started),
        TensorBoardLogger(run.path / "train", name="tensorboard", version=run.started),
    ]
    return local if debug else [*local, *build_integrations(config, run.path)]


def _trainer(config: dict[str, Any], run: Run, callbacks: list[pl.Callback], **arguments: Any) -> pl.Trainer:
    """Lightning's Trainer; steps, checkpoints and progress are ours, the rest is the config's `trainer` section."""
    for needless in NEEDLESS:
        warnings.filterwarnings("ignore", f".*{needless}.*")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    ours = {
        "max_epochs": -1,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,  # they would initialise ActNorm on validation images
        "use_distributed_sampler": False,
        "default_root_dir": str(run.path),
    }
    with _trainer_explained():
        return pl.Trainer(**(ours | arguments | config["trainer"]), callbacks=callbacks)


@contextmanager
def _trainer_explained() -> Generator[None]:
    """A UserError where Lightning refuses what the section `trainer` asks for."""
    try:
        yield
    except Exception as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1].filename
        of_lightning = isinstance(error, REFUSALS) and "pytorch_lightning" in Path(innermost).parts
        if not of_lightning or isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
