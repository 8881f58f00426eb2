"""The run's own keys at the top level of a config: kind, default, range and one line of help each."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Key:
    """One top-level key.

    Args:
        kind: the annotation that a value has to fit, such as `int` or `dict`.
        default: the value in use where the config gives none.
        help: one line for `edflow --help`.
        at_least: the smallest value allowed.
        above: the bound that a value has to exceed.
        at_most: the largest value allowed.
    """

    kind: Any
    default: Any
    help: str
    at_least: int | None = None
    above: int | None = None
    at_most: int | float = math.inf


KEYS = {
    "experiment_name": Key(str, None, "names the run; latest:NAME finds its last checkpoint"),
    "model": Key(str, None, "dotted class of the network that is trained; arguments in Model or Transformer"),
    "loss": Key(str, None, "dotted class of the loss, where the iterator takes one; arguments in Loss"),
    "iterator": Key(str, None, "dotted class of the training task; its arguments stand at the top level"),
    "datasets": Key(dict, None, "train and validation: a dotted class, or {class: dotted, argument: value}"),
    "batch_size": Key(int, 25, "examples in a batch", at_least=1),
    "num_steps": Key(int, None, "length of the training in steps", at_least=1),
    "num_epochs": Key(int, None, "length of the training in epochs, in place of num_steps", at_least=1),
    "learning_rate": Key(float, None, "step size of the optimiser", above=0),
    "base_learning_rate": Key(float, None, "learning_rate = base_learning_rate × batch_size", above=0),
    "decay_start": Key(int, None, "step at which the learning rate begins its way to 0", at_least=0),
    "log_freq": Key(int, 100, "steps between two rows of the log", at_least=1),
    "ckpt_freq": Key(int, 1000, "steps between two checkpoints", at_least=1),
    "keep_checkpoints": Key(int, 3, "how many checkpoints of a run stay on disk", at_least=1),
    "seed": Key(int, 0, "of every random draw", at_least=0, at_most=2**32 - 1),
    "n_data_processes": Key(int, 0, "processes that load data; 0 loads in the main process", at_least=0),
    "test_mode": Key(bool, False, "true: the config only evaluates; -t is refused"),
    "trainer": Key(dict, {}, "arguments of pytorch_lightning.Trainer"),
    "evaluation": Key(dict, {}, "measured after each epoch: {name: {argument: value}}; null for off"),
    "fid": Key(dict, None, "the same as evaluation/fid"),
    "fid_stats": Key(dict, None, "statistics of the real images, computed before"),
    "integrations": Key(dict, {}, "other loggers, such as wandb"),
    "notes": Key(Any, None, "free text, or a mapping"),
}

# Two spellings of one setting: a later file or override that gives one replaces the other.
PAIRS = (("learning_rate", "base_learning_rate"), ("num_steps", "num_epochs"))

# Loggers besides those that are always on, and their classes.
INTEGRATIONS = {"wandb": "invariances.training.loggers.wandb.Wandb"}
