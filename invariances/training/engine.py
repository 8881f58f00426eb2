"""Train and evaluate the task of a checked config with Lightning's Trainer."""

import logging
import os
import traceback
import warnings
from collections.abc import Generator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from invariances.config.building import (
    OVERFIT,
    build_evaluations,
    build_integrations,
    build_iterator,
    build_loader,
)
from invariances.config.signatures import make, prefix_errors
from invariances.data.loader import Loader
from invariances.errors import InvalidInput, UserError
from invariances.evaluation import Evaluation
from invariances.evaluation.report.page import can_report, write_report
from invariances.iterators import Iterator
from invariances.training.callbacks import Evaluations, KeepBest, StepCounter, TrainingPictures
from invariances.training.identity import require_same_networks
from invariances.training.loggers.csv import CSVLog
from invariances.training.progress import EvaluationProgress, Progress
from invariances.training.representation_cache import CacheSettings, with_cache
from invariances.training.restoring import RestoredState
from invariances.training.run import Run
from invariances.training.saving import Checkpoints
from invariances.training.stopping import StopOnSignal
from invariances.utils import checkpoints
from invariances.utils.memory import is_out_of_memory
from invariances.utils.signals import held_back

log = logging.getLogger(__name__)

# Errors that Lightning raises for arguments of the Trainer that do not fit together, or not this machine.
REFUSALS = (MisconfigurationException, TypeError, ValueError, RuntimeError)

LIGHTNING = {"pytorch_lightning", "lightning_fabric"}  # the packages that it consists of

# Parts of Lightning's warnings that do not apply here.
IGNORED_WARNINGS = (
    "does not have many workers",  # data sets return whole batches
    "smaller than the logging interval",  # logs go by steps, not by epochs
    "callbacks used to create the checkpoint",  # a resumed run may ask for others, such as keep_best
    "isinstance.treespec",  # of Lightning's own code
)

# What the backends of torch.distributed say when another process has ended.
LOST_PROCESS = (
    "Connection closed by peer", "Connection reset by peer", "Connection was likely closed", "Broken pipe",
    "remote process exited",
)

RESTORING = "checkpoint_connector"  # Lightning's module that reads the state of a training
MOST_REASON = 200  # characters of an error of it

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
    num_steps = config.get("num_steps") or config["num_epochs"] * _epoch_length(config, built.train_loader, run)
    if config.get("decay_start", 0) > num_steps:
        decay = config["decay_start"]
        log.warning("decay_start: %d is after the last step, %d: the learning rate will not fall", decay, num_steps)
    begin = 0 if restart else int(built.iterator.step)
    built.iterator.step.fill_(begin)
    if begin >= num_steps and not debug:
        _finish(built, checkpoint or run.path, config, run, num_steps)
    else:
        built.iterator.num_steps = begin + DEBUG_STEPS if debug else num_steps
        _fit(built, None if restart else checkpoint, config, run, debug)


def _epoch_length(config: dict[str, Any], loader: Loader, run: Run) -> int:
    """Steps of an epoch: the share of each process, or what is left of it."""
    trainer = _trainer(config, run, [], logger=False)
    return _limited(
        loader.batches.length(trainer.num_nodes * trainer.num_devices), config["trainer"].get("limit_train_batches")
    )


def _limited(n_batches: int, limit: int | float | None) -> int:
    """What `trainer/limit_train_batches` leaves of so many batches: a number, or a share as a float."""
    if limit is None:
        return n_batches
    return max(1, min(n_batches, limit) if isinstance(limit, int) else int(n_batches * min(limit, 1)))


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
    training = build_loader(config, "train", debug) if train else validation
    # Before weights are initialised, and after the loaders: preparing pictures for the first time takes random numbers.
    pl.seed_everything(config["seed"], verbose=False)
    built = _Built(
        training,
        validation,
        build_iterator(config, num_steps=1),
        build_evaluations(config, debug),
    )
    if checkpoint is not None:
        state = checkpoints.restore(built.iterator, checkpoint, resume)
        if same_networks:
            require_same_networks(state, built.iterator, checkpoint)
    return built


@dataclass(frozen=True)
class _Training:
    """Lightning's Trainer, and those of its callbacks that the engine asks."""

    trainer: pl.Trainer
    evaluations: Evaluations
    stop: StopOnSignal
    best: KeepBest | None

    @property
    def has_ended_early(self) -> bool:
        """Whether the metric has not improved for too long."""
        return self.best is not None and self.best.is_exhausted


def _training(
    built: _Built,
    config: dict[str, Any],
    run: Run,
    debug: bool,
    begin: int,
    num_steps: int,
    resumed: Path | None = None,
) -> _Training:
    log_freq = DEBUG_STEPS if debug else config["log_freq"]
    saver = Checkpoints(run.checkpoints, config, config["ckpt_freq"], config["keep_checkpoints"], last_step=begin)
    stop, evaluations = StopOnSignal(saver, run.abandon), Evaluations(built.evaluations, run.path / "train" / "eval")
    pictures = TrainingPictures(built.evaluations, built.validation_loader, run.path / "train" / "pictures", log_freq)
    metric, patience = config.get("keep_best"), config.get("early_stopping")
    metric = metric or ("validation/loss" if patience else None)
    best = KeepBest(saver, evaluations, metric, patience) if metric else None
    # `best` before `evaluations`, which note last that a pass is whole, and these before `saver`, so that a checkpoint
    # of a step with an evaluation never gets its name before the evaluation has begun
    progress, restored = Progress(num_steps, evaluations), RestoredState(resumed)
    callbacks: list[pl.Callback | None] = [
        restored, StepCounter(num_steps), best, evaluations, saver, stop, pictures, progress
    ]  # fmt: skip
    trainer = _trainer(
        config,
        run,
        [callback for callback in callbacks if callback is not None],
        log_every_n_steps=1 if debug else log_freq,
        check_val_every_n_epoch=DEBUG_STEPS if debug else 1,
        logger=_loggers(config, run, debug, begin),
    )
    if isinstance(trainer.strategy, DDPStrategy) and not built.iterator.automatic_optimization:
        # several losses, of which each is one of some parameters only, such as with a discriminator
        trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
    return _Training(trainer, evaluations, stop, best)


def _fit(built: _Built, resumed: Path | None, config: dict[str, Any], run: Run, debug: bool) -> None:
    """Train an iterator to its last step, from a checkpoint if there is one."""
    iterator, begin, num_steps = built.iterator, int(built.iterator.step), int(built.iterator.num_steps or 0)
    training = _training(built, config, run, debug, begin, num_steps, resumed)
    trainer, evaluations = training.trainer, training.evaluations
    if evaluations.is_begun(begin) and not evaluations.is_whole(begin):
        _make_up(training, built, run, begin)
    train_loader = _cached(built, config, trainer, debug)
    with training.stop, _restoring_explained(resumed), _refusals_explained(iterator, train_loader, "train"):
        trainer.fit(iterator, train_loader, built.validation_loader, ckpt_path=resumed, weights_only=True)
    if int(iterator.step) == begin and not training.has_ended_early:
        raise UserError("trainer: the training ended before its first step; see its limit_train_batches and max_time")
    if evaluations.last_step != int(iterator.step) and not evaluations.is_whole(int(iterator.step)):
        trainer.validate(iterator, built.validation_loader, verbose=False)


def _cached(built: _Built, config: dict[str, Any], trainer: pl.Trainer, debug: bool) -> Loader:
    """The training loader, of kept outputs of the frozen networks where the config or the data allow it."""
    if debug:
        return built.train_loader
    with prefix_errors("datasets/train", InvalidInput):
        settings = make(CacheSettings, config["cache"], "cache")
        device, data = trainer.strategy.root_device, {"train": config["datasets"]["train"], "seed": config["seed"]}
        built.iterator.to(device)
        return with_cache(built.train_loader, built.iterator, settings, data, device)


def _finish(built: _Built, checkpoint: Path, config: dict[str, Any], run: Run, num_steps: int) -> None:
    """Make up for what is missing in the last evaluation of a training that has ended.

    Raises:
        UserError: the training is that of another run, so that nothing would be left to do in this one.
    """
    message = f"has finished its {num_steps} steps; raise num_steps to train on"
    if checkpoint.parent.resolve() != run.checkpoints.resolve():
        raise UserError(f"{checkpoint}: {message}")
    step = int(built.iterator.step)
    if not Evaluations({}, run.path / "train" / "eval").is_whole(step):
        training = _training(built, config, run, False, step, num_steps)
        if training.best is not None:
            callbacks = checkpoints.load(checkpoint)["callbacks"]
            training.best.load_state_dict(callbacks.get(training.best.state_key, training.best.state_dict()))
        _make_up(training, built, run, step)
    log.info("%s %s", run.path, message)


def _make_up(training: _Training, built: _Built, run: Run, step: int) -> None:
    """Do an evaluation again that was cut off, or of which something is missing."""
    log.info("%s: the evaluation at step %d is not whole; doing it again", run.path, step)
    training.trainer.validate(built.iterator, built.validation_loader, verbose=False)


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
        print(write_report([[run.path]], folder))
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
        with _trainer_explained(), _lost_process_explained():
            yield
    except InvalidInput as error:
        facts = f"{len(cast(Sized, loader.dataset))} example(s), batch_size {loader.batches.batch_size}"
        which = "the first batch" if int(iterator.step) == begin else f"a batch at step {int(iterator.step)}"
        raise UserError(f"datasets/{split}: {facts}; {which} is refused: {error}") from error


def _loggers(config: dict[str, Any], run: Run, debug: bool, begin: int) -> list[Logger]:
    """The loggers: CSV, TensorBoard, and the integrations of the config. Steps after `begin` replace earlier ones."""
    folder = run.path / "train"
    local: list[Logger] = [
        CSVLog(folder / "csv" / "metrics.csv", begin),
        TensorBoardLogger(folder, name="tensorboard", version="", purge_step=begin + 1),
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
        **_devices_of_torchrun(),
    }
    theirs = {name: value for name, value in config["trainer"].items() if name != OVERFIT}  # see `build_loader`
    with _trainer_explained():
        trainer = pl.Trainer(**(ours | arguments | theirs), callbacks=callbacks)
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        # Lightning kills this process when one that it has started is ended by a signal
        launcher._call_children_scripts = held_back()(launcher._call_children_scripts)  # type: ignore[method-assign]
    return trainer


def _devices_of_torchrun() -> dict[str, int]:
    """Settings for all processes that torchrun has started; nothing without it.

    Lightning counts the devices itself, and of CPUs it counts one: each process would train alone, in the same folder.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {}
    return {"devices": int(os.environ["LOCAL_WORLD_SIZE"]), "num_nodes": int(os.environ["GROUP_WORLD_SIZE"])}


@contextmanager
def _trainer_explained() -> Generator[None]:
    """Raise a UserError where Lightning refuses the `trainer` section.

    That is an error of a `raise` statement in Lightning or its core, Fabric. A call in Lightning of other code that
    fails, such as a hook with the wrong arguments, is none.
    """
    try:
        yield
    except REFUSALS as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1]
        parts, line = Path(innermost.filename).parts, innermost.line or ""
        if not LIGHTNING & {*parts} or not line.startswith("raise "):
            raise
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error


@contextmanager
def _restoring_explained(checkpoint: Path | None) -> Generator[None]:
    """Raise a UserError where Lightning cannot restore the state of the training from a checkpoint."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if is_out_of_memory(error) or not any(Path(frame.filename).stem == RESTORING for frame in frames):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"{checkpoint}: the state of its training cannot be restored ({reason[:MOST_REASON]}); resume from an "
            "earlier checkpoint, or add -r to start a new training from its weights"
        ) from error


@contextmanager
def _lost_process_explained() -> Generator[None]:
    """Raise a UserError where another process of a distributed training has ended, which ends all of them."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in LOST_PROCESS):
            raise
        raise UserError(
            "trainer: another process of this training has ended, and so this one; see its message, then resume "
            "from the last checkpoint: edflow -p RUN -t"
        ) from error
