"""The run's own keys at the top level of a config: kind, default, range and one line of help each."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from invariances.utils.files import n_cpus


@dataclass(frozen=True)
class Key:
    """One top-level key.

    Args:
        kind: type annotation of the value, such as `int` or `dict`.
        default: value if the config gives none.
        help: one line for `edflow --help`.
        at_least: lower bound, inclusive.
        above: lower bound, exclusive.
        at_most: upper bound, inclusive.
    """

    kind: Any
    default: Any
    help: str
    at_least: int | None = None
    above: int | None = None
    at_most: int | float = math.inf


KEYS = {
    "experiment_name": Key(str, None, "name of the experiment; latest:NAME is its last checkpoint"),
    "model": Key(str, None, "class of the network to train; its arguments are in Model or Transformer"),
    "loss": Key(str, None, "class of the loss, if the iterator takes one; its arguments are in Loss"),
    "iterator": Key(str, None, "class of the training task; its arguments are keys at the top level"),
    "datasets": Key(dict, None, "train and validation: CLASS, or {class: CLASS, argument: value}"),
    "checkpoint": Key(str, None, "weights to evaluate or to start from: a file, or latest:EXPERIMENT; as -c"),
    "batch_size": Key(int, 25, "examples per batch", at_least=1),
    "num_steps": Key(int, None, "length of the training in steps", at_least=1),
    "num_epochs": Key(int, None, "length of the training in epochs, in place of num_steps", at_least=1),
    "learning_rate": Key(float, None, "step size of the optimiser", above=0),
    "base_learning_rate": Key(float, None, "learning_rate = base_learning_rate × batch_size", above=0),
    "decay_start": Key(int, None, "step at which the learning rate starts to fall linearly to 0", at_least=0),
    "log_freq": Key(int, 100, "steps between two rows of the logs", at_least=1),
    "ckpt_freq": Key(int, 1000, "steps between two checkpoints", at_least=1),
    "keep_checkpoints": Key(int | Literal["all"], 3, "checkpoints to keep, or all; older ones are deleted", at_least=1),
    "keep_best": Key(str, None, "metric, such as validation/loss or fid_*: the best checkpoint is kept as best.ckpt"),
    "early_stopping": Key(int, None, "evaluations without a better keep_best that end the training", at_least=1),
    "seed": Key(int, 0, "seed of all random numbers", at_least=0, at_most=2**32 - 1),
    "n_data_processes": Key(
        int, 0, "processes that load data; 0 loads in the main process", at_least=0, at_most=max(64, 4 * n_cpus())
    ),
    "test_mode": Key(bool, False, "if true, the config only evaluates, and -t is refused"),
    "cache": Key(dict, {}, "representations: true computes what frozen networks make of the images only once"),
    "trainer": Key(dict, {}, "arguments of pytorch_lightning.Trainer"),
    "evaluation": Key(dict, {}, "evaluations after each epoch: {name: {argument: value}}; null is off"),
    "fid": Key(dict, None, "same as evaluation/fid"),
    "fid_stats": Key(dict, None, "precomputed statistics of the real images"),
    "integrations": Key(dict, {}, "loggers of other services, such as wandb"),
    "notes": Key(Any, None, "free text, or a mapping"),
}

# Two keys for one setting: a later file or override that gives one of them replaces the other.
PAIRS = (("learning_rate", "base_learning_rate"), ("num_steps", "num_epochs"))

# Sections of the run with arguments of their own, and the classes that take them.
CACHE = "invariances.training.representation_cache.CacheSettings"

# Loggers of other services, and their classes. CSV and TensorBoard are always on.
INTEGRATIONS = {"wandb": "invariances.training.loggers.wandb.Wandb"}
