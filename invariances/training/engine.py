"""Train and evaluate the task of a checked config with Lightning's Trainer."""

import logging
import traceback
import warnings
from collections.abc import Generator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from invariances.config.building import build_evaluations, build_integrations, build_iterator, build_loader
from invariances.data.loader import Loader
from invariances.errors import InvalidInput, UserError
from invariances.evaluation import Evaluation
from invariances.evaluation.report.page import can_report, write_report
from invariances.iterators import Iterator
from invariances.training.callbacks import (
    Checkpoints,
    Evaluations,
    KeepBest,
    StepCounter,
    StopOnSignal,
    TrainingPictures,
)
from invariances.training.identity import require_same_networks
from invariances.training.progress import EvaluationProgress, Progress
from invariances.training.run import Run
from invariances.utils import checkpoints

log = logging.getLogger(__name__)

# Errors that Lightning raises for arguments of the Trainer that do not fit together, or not this machine.
REFUSALS = (MisconfigurationException, TypeError, ValueError, RuntimeError)

# Parts of Lightning's warnings that do not apply here.
IGNORED_WARNINGS = (
    "does not have many workers",  # data sets return whole batches
    "smaller than the logging interval",  # logs go by steps, not by epochs
    "callbacks used to create the checkpoint",  # a resumed run may ask for others, such as keep_best
    "isinstance.treespec",  # of Lightning's own code
)

DEBUG_STEPS = 3


def train(
    config: dict[str, Any],
    run: Run,
    checkpoint: Path | None = None,
    restart: bool = False,
    debug: bool = False,
    allow_other_network: bool = False,
) -> None:
    """Train, evaluating after each epoch and at the end.

    Args:
        config: checked and resolved.
        run: folder to write to.
        checkpoint: weights, optimiser, step counter and batch of the epoch to continue from.
        restart: take only the weights of `checkpoint`, and start at step 0.
        debug: a few steps on a few examples.
        allow_other_network: continue even if frozen networks are not those that the checkpoint was trained with.
    """
    same = not (restart or allow_other_network)
    built = _build(config, checkpoint, train=True, resume=not restart, same_networks=same, debug=debug)
    num_steps = config.get("num_steps") or config["num_epochs"] * len(built.train_loader)
    if config.get("decay_start", 0) > num_steps:
        decay = config["decay_start"]
        log.warning("decay_start: %d is after the last step, %d: the learning rate will not fall", decay, num_steps)
    begin = 0 if restart else int(built.iterator.step)
    built.iterator.step.fill_(begin)
    if begin >= num_steps and not debug:
        _finished(run, checkpoint or run.path, num_steps)
    else:
        built.iterator.num_steps = begin + DEBUG_STEPS if debug else num_steps
        _fit(built, None if restart else checkpoint, config, run, debug)


@dataclass(frozen=True)
class _Built:
    """The objects of a config. In a run that only evaluates, `train_loader` is the validation split and not used."""

    train_loader: Loader
    validation_loader: Loader
    iterator: Iterator
    evaluations: dict[str, Evaluation]


def _build(
    config: dict[str, Any], checkpoint: Path | None, train: bool, resume: bool, same_networks: bool, debug: bool
) -> _Built:
    """Build loaders, evaluations, and the iterator with its networks, and load the checkpoint if there is one."""
    validation = build_loader(config, "validation", debug)
    pl.seed_everything(config["seed"], verbose=False)  # before weights are initialised
    built = _Built(
        build_loader(config, "train", debug) if train else validation,
        validation,
        build_iterator(config, num_steps=1),
        build_evaluations(config, debug),
    )
    if checkpoint is not None:
        state = checkpoints.restore(built.iterator, checkpoint, resume)
        if same_networks:
            require_same_networks(state, built.iterator, checkpoint)
    return built


def _fit(built: _Built, resumed: Path | None, config: dict[str, Any], run: Run, debug: bool) -> None:
    """Train an iterator to its last step, from a checkpoint if there is one."""
    iterator, begin, num_steps = built.iterator, int(built.iterator.step), int(built.iterator.num_steps or 0)
    log_freq = DEBUG_STEPS if debug else config["log_freq"]
    saver = Checkpoints(run.checkpoints, config, config["ckpt_freq"], config["keep_checkpoints"])
    stop, evaluations = StopOnSignal(saver), Evaluations(built.evaluations, run.path / "train" / "eval")
    pictures = TrainingPictures(built.evaluations, built.validation_loader, run.path / "train" / "pictures", log_freq)
    metric, patience = config.get("keep_best"), config.get("early_stopping")
    metric = metric or ("validation/loss" if patience else None)
    best = [KeepBest(saver, evaluations, metric, patience)] if metric else []
    trainer = _trainer(
        config,
        run,
        [StepCounter(num_steps), saver, stop, pictures, evaluations, *best, Progress(num_steps, evaluations)],
        log_every_n_steps=1 if debug else log_freq,
        check_val_every_n_epoch=DEBUG_STEPS if debug else 1,
        logger=_loggers(config, run, debug),
    )
    with stop, _refusals_explained(iterator, built.train_loader, "train"):
        trainer.fit(iterator, built.train_loader, built.validation_loader, ckpt_path=resumed, weights_only=True)
    if int(iterator.step) == begin:
        raise UserError("trainer: the training ended before its first step; see its limit_train_batches and max_time")
    if evaluations.last_step != int(iterator.step):
        trainer.validate(iterator, built.validation_loader, verbose=False)


def _finished(run: Run, checkpoint: Path, num_steps: int) -> None:
    """Log that the training has already ended; a new run from the end of another one is refused."""
    message = f"has finished its {num_steps} steps; raise num_steps to train on"
    if checkpoint.parent.resolve() != run.checkpoints.resolve():
        raise UserError(f"{checkpoint}: {message}")
    log.info("%s %s", run.path, message)


def evaluate(
    config: dict[str, Any], run: Run, checkpoint: Path, debug: bool = False, allow_other_network: bool = False
) -> Path:
    """Evaluate a checkpoint on the validation split.

    Args:
        config: checked and resolved.
        run: `metrics.json`, pictures and, for a conditional or disentangling INN, a report are written to its folder
            `eval/<time>`; its other files do not change.
        checkpoint: of the config's iterator.
        debug: on a few examples.
        allow_other_network: evaluate even if frozen networks are not those that the checkpoint was trained with.

    Returns:
        the folder of the results.

    Raises:
        UserError: a frozen network is another one; an evaluation failed, and all others have been written.
    """
    same = not allow_other_network
    built = _build(config, checkpoint, train=False, resume=False, same_networks=same, debug=debug)
    folder = run.new_evaluation()
    evaluations = Evaluations(built.evaluations, folder, by_step=False)
    trainer = _trainer(config, run, [EvaluationProgress(evaluations), evaluations], logger=False)
    with _refusals_explained(built.iterator, built.validation_loader, "validation"):
        trainer.validate(built.iterator, built.validation_loader, verbose=False)
    if trainer.is_global_zero and can_report(folder):
        print(write_report([run.path], folder))
    _require_all(evaluations.missing, folder)
    return folder


def _require_all(missing: dict[str, str], folder: Path) -> None:
    """Raise a UserError if an evaluation failed."""
    if missing:
        reasons = "; ".join(f"evaluation {name} is missing ({reason})" for name, reason in missing.items())
        raise UserError(f"{folder}: {reasons}; all others are in metrics.json there")


@contextmanager
def _refusals_explained(iterator: Iterator, loader: Loader, split: str) -> Generator[None]:
    """Raise a UserError where this package refuses a batch, or Lightning the `trainer` section."""
    begin = int(iterator.step)
    try:
        with _trainer_explained():
            yield
    except InvalidInput as error:
        facts = f"{len(cast(Sized, loader.dataset))} example(s), batch_size {loader.batches.batch_size}"
        which = "the first batch" if int(iterator.step) == begin else f"a batch at step {int(iterator.step)}"
        raise UserError(f"datasets/{split}: {facts}; {which} is refused: {error}") from error


def _loggers(config: dict[str, Any], run: Run, debug: bool) -> list[Logger]:
    """The loggers: CSV, TensorBoard, and the integrations of the config."""
    local: list[Logger] = [
        CSVLogger(run.path / "train", name="csv", version=run.started),
        TensorBoardLogger(run.path / "train", name="tensorboard", version=run.started),
    ]
    return local if debug else [*local, *build_integrations(config, run.path)]


def _trainer(config: dict[str, Any], run: Run, callbacks: list[pl.Callback], **arguments: Any) -> pl.Trainer:
    """Lightning's Trainer with the config's `trainer` section; steps, checkpoints and progress are set here."""
    for text in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", f".*{text}.*")
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
    """Raise a UserError where Lightning refuses the `trainer` section.

    That is an error of a `raise` statement in Lightning. A call in Lightning of other code that fails, such as a hook
    with the wrong arguments, is none.
    """
    try:
        yield
    except REFUSALS as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1]
        if "pytorch_lightning" not in Path(innermost.filename).parts or not (innermost.line or "").startswith("raise "):
            raise
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
