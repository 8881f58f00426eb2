"""From a checked config to a trained and evaluated model: Lightning's Trainer around an iterator."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from invariances import checkpoint as checkpoints
from invariances import config as configs
from invariances.callbacks import Checkpoints, Evaluations, Progress, StepCounter, StopOnSignal
from invariances.data.loader import First, Loader
from invariances.errors import UserError
from invariances.iterators import Iterator
from invariances.models import Greybox
from invariances.run import Run

log = logging.getLogger(__name__)

DEBUG_STEPS = 3
DEBUG_BATCHES = 2


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
    train_loader, validation_loader = _loader(config, "train", debug), _loader(config, "validation", debug)
    num_steps = DEBUG_STEPS if debug else config.get("num_steps") or config["num_epochs"] * len(train_loader)
    iterator = _build_iterator(config, num_steps)
    if checkpoint is not None:
        state = checkpoints.load(checkpoint)
        if restart:
            checkpoints.load_weights(iterator, state, checkpoint)
            iterator.step.zero_()
        elif int(state["state_dict"]["step"]) >= num_steps:
            log.info("%s has finished its %d steps; raise num_steps to train on", run.path, num_steps)
            return
    keeper = Checkpoints(run.checkpoints, config, config["ckpt_freq"], config["keep_checkpoints"])
    evaluations = Evaluations(configs.build_evaluations(config), run.path / "train" / "eval")
    trainer = _trainer(
        config,
        run,
        [StepCounter(num_steps), keeper, StopOnSignal(keeper), evaluations, Progress(num_steps)],
        log_every_n_steps=min(50, config["log_freq"]),
    )
    resume = None if restart or checkpoint is None else str(checkpoint)
    trainer.fit(iterator, train_loader, validation_loader, ckpt_path=resume, weights_only=True)
    if evaluations.last_step != int(iterator.step):
        trainer.validate(iterator, validation_loader, verbose=False)


def evaluate(config: dict[str, Any], run: Run, checkpoint: Path, debug: bool = False) -> Path:
    """Evaluate a checkpoint on the validation split.

    Args:
        config: checked and resolved.
        run: its folder `eval/<time>` takes `metrics.json` and the pictures.
        checkpoint: of the iterator that the config names.
        debug: on a few examples.

    Returns:
        the folder that was written.
    """
    loader = _loader(config, "validation", debug)
    iterator = _build_iterator(config, num_steps=1)
    checkpoints.load_weights(iterator, checkpoints.load(checkpoint), checkpoint)
    folder = run.new_evaluation()
    evaluations = Evaluations(configs.build_evaluations(config), folder)
    trainer = _trainer(config, run, [evaluations], logger=False)
    trainer.validate(iterator, loader, verbose=True)
    return folder


def _loader(config: dict[str, Any], split: str, debug: bool) -> Loader:
    dataset = configs.build_dataset(config, split)
    if debug:
        dataset = First(dataset, DEBUG_BATCHES * config["batch_size"])
    return Loader(
        dataset,
        config["batch_size"],
        seed=config["seed"],
        shuffle=split == "train",
        n_workers=config["n_data_processes"],
    )


def _build_iterator(config: dict[str, Any], num_steps: int) -> Iterator:
    """The iterator with its networks; frozen ones come from their checkpoints."""
    pl.seed_everything(config["seed"], verbose=False)  # before any weight is drawn
    arguments = configs.iterator_arguments(config) | {"num_steps": num_steps}
    for name, build in NETWORKS.items():
        if configs.takes(config, name):
            arguments[name] = build(config)
    return configs.build_iterator(config, **arguments)


def _build_greybox(config: dict[str, Any]) -> Greybox:
    section = dict(config["GreyboxModel"])
    if "checkpoint" in section:
        section["model"] = checkpoints.load_model(section.pop("checkpoint"))
    with configs.named("GreyboxModel"):
        return Greybox(**section)


def _build_first_stage(section: dict[str, Any]) -> nn.Module:
    return checkpoints.load_model(**section)


NETWORKS = {
    "model": configs.build_model,
    "loss": configs.build_loss,
    "greybox": _build_greybox,
    "autoencoder": lambda config: _build_first_stage(config["AutoencoderModel"]),
    "first_stage": lambda config: _build_first_stage(config["first_stage"]),
}


def _trainer(config: dict[str, Any], run: Run, callbacks: list[pl.Callback], **arguments: Any) -> pl.Trainer:
    """Lightning's Trainer; steps, checkpoints and progress are ours, the rest is the config's `trainer` section."""
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # data sets make whole batches at once
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    ours = {
        "max_epochs": -1,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,  # they would initialise ActNorm on validation images
        "use_distributed_sampler": False,
        "default_root_dir": str(run.path),
        "logger": [
            CSVLogger(run.path / "train", name="csv", version=run.started),
            TensorBoardLogger(run.path / "train", name="tensorboard", version=run.started),
        ],
    }
    return pl.Trainer(**(ours | arguments | config["trainer"]), callbacks=callbacks)
