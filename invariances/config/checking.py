"""Checks of a config before any work; all mistakes are reported at once.

Each function below checks one part of the config and yields its mistakes, one line each.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

from invariances.config.building import (
    PART,
    evaluation_specs,
    foreign_root,
    locate_dataset,
    locate_evaluation,
    locate_iterator,
    without_part,
)
from invariances.config.classes import known_class, locate
from invariances.config.keys import CACHE, INTEGRATIONS, KEYS, PAIRS, Key
from invariances.config.needs import unmet
from invariances.config.nodes import class_and_arguments
from invariances.config.parts import NETWORK, PARTS
from invariances.config.signatures import describe, find_and_bind, fits, mistakes, parameters, show
from invariances.errors import UserError
from invariances.utils.files import n_cpus
from invariances.utils.names import hint

# Arguments of Lightning's Trainer that a run sets itself, and the keys or flags to use instead.
SET_BY_RUN = {
    "callbacks": "evaluation",
    "default_root_dir": "-n NAME",
    "barebones": "nothing: without logs and checkpoints there is no run",
    "enable_checkpointing": "ckpt_freq",
    "fast_dev_run": "-d",
    "log_every_n_steps": "log_freq",
    "logger": "integrations",
    "max_epochs": "num_epochs",
    "max_steps": "num_steps",
    "min_epochs": "num_epochs",
    "min_steps": "num_steps",
    "num_sanity_val_steps": "nothing: sanity steps would initialise ActNorm on validation images",
    "use_distributed_sampler": "nothing: the loader distributes the examples over the devices",
}
POSITIVE = (  # arguments of the Trainer that switch training or validation off where they are 0
    "accumulate_grad_batches",
    "check_val_every_n_epoch",
    "limit_train_batches",
    "limit_val_batches",
    "val_check_interval",
)
MOST_NODES = 10_000
# Variables that name the other machines of a training: of torch's launchers, SLURM, LSF and MPI.
LAUNCHERS = ("MASTER_ADDR", "SLURM_JOB_ID", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
UNUSED_PRECISIONS = (64, "64", "64-true", "16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")
LARGEST = 2**63  # bound of all numbers of a run: the range of int64
SECTIONS = {part.section for part in PARTS.values()}
OPTIONAL = {*KEYS, *SECTIONS, "Model", "Transformer", "Loss"}  # keys for which null means: not given


def check(config: Mapping[str, Any], train: bool = True) -> dict[str, Any]:
    """Check every section against the class that it configures.

    Args:
        config: as returned by `read`.
        train: whether the run trains; this also needs `datasets/train`, a length and a learning rate.

    Returns:
        the config with defaults filled in, and without keys and sections that are null.

    Raises:
        UserError: all mistakes, one a line.
    """
    given = {name: value for name, value in config.items() if value is not None or name not in OPTIONAL}
    parts = [_numbers(given), _run_keys(given), _mode(given, train), _pairs(given, train), _datasets(given, train)]
    parts += [_evaluations(given), _places(given), _integrations(given), _trainer(given), _cache(given)]
    parts.append(_iterator(given))
    first: dict[str, str] = {}  # of each key: one mistake may bring others with it
    for line in chain.from_iterable(parts):
        first.setdefault(line.partition(": ")[0], line)
    found = list(first.values())
    if len(found) == 1:
        raise UserError(found[0])
    if found:
        raise UserError("\n  ".join([f"{len(found)} mistakes in the config", *found]))
    defaults = {name: key.default for name, key in KEYS.items() if key.default is not None}
    return given | {name: value for name, value in defaults.items() if name not in given}


def _numbers(value: Any, key: str = "") -> Iterator[str]:
    """Numbers that no tensor can hold, anywhere in the config."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from _numbers(item, f"{key}/{name}".lstrip("/"))
    if type(value) is int and abs(value) >= LARGEST:
        yield f"{key}: {show(value)}; expected a number between -2^63 and 2^63"


def _run_keys(config: Mapping[str, Any]) -> Iterator[str]:
    for name, key in KEYS.items():
        if name in config and not _allowed(config[name], key):
            yield f"{name}: {show(config[name])}; expected {_expected(key)}"


def _mode(config: Mapping[str, Any], train: bool) -> Iterator[str]:
    if train and config.get("test_mode") is True:
        yield "test_mode: true, so the config only evaluates; leave out -t, or use --test_mode false"


def _allowed(value: Any, key: Key) -> bool:
    if not fits(value, key.kind):
        return False
    if type(value) not in (int, float):
        return True
    low = (key.at_least is None or value >= key.at_least) and (key.above is None or value > key.above)
    return low and value <= key.at_most and value < LARGEST


def _expected(key: Key) -> str:
    bounds = [f"of at least {key.at_least}"] if key.at_least is not None else []
    bounds += [f"above {key.above}"] if key.above is not None else []
    bounds += [f"of at most {key.at_most}"] if math.isfinite(key.at_most) else []
    return " ".join([describe(key.kind), " and ".join(bounds)]).strip()


def _pairs(config: Mapping[str, Any], train: bool) -> Iterator[str]:
    for one, other in PAIRS:
        if one in config and other in config:
            yield f"{one}, {other}: both are given; keep one of them"
        elif train and one not in config and other not in config:
            yield f"{one}: missing; give it, or {other}"


def _datasets(config: Mapping[str, Any], train: bool) -> Iterator[str]:
    splits = config.get("datasets", {})
    if not isinstance(splits, Mapping):
        return  # `_run_keys` has reported it
    for split in ("train", "validation") if train else ("validation",):
        if split not in splits:
            yield f"datasets/{split}: missing; expected the dotted class of a data set"
    for split, spec in splits.items():
        if split not in ("train", "validation"):
            yield f"datasets/{split}: unknown split{hint(split, ('train', 'validation'))}"
            continue
        yield from dataset_mistakes(spec, split)


def dataset_mistakes(spec: Any, split: str) -> Iterator[str]:
    """The mistakes in the description of a data set, and in its `part`."""
    path, arguments = class_and_arguments(spec)
    try:
        cls = locate_dataset(path, split)
    except UserError as error:
        yield str(error)
        return
    arguments, part = without_part(cls, arguments)
    yield from mistakes(cls, arguments, f"datasets/{split}")
    if part is not None:
        yield from mistakes(known_class("invariances.data.Part"), part, f"datasets/{split}/{PART}", given=("dataset",))


def _evaluations(config: Mapping[str, Any]) -> Iterator[str]:
    section = config.get("evaluation", {})
    if not isinstance(section, Mapping):
        return  # `_run_keys` has reported it
    if "fid" in config and section.get("fid") is not None:
        yield "fid, evaluation/fid: both are given; keep one of them"
    for name, spec in evaluation_specs(config).items():
        if isinstance(spec, Mapping):
            arguments = class_and_arguments(spec)[1]
            yield from find_and_bind(partial(locate_evaluation, name, spec), arguments, f"evaluation/{name}")
            yield from _misfit(config, name, spec)
        else:
            yield f"evaluation/{name}: {show(spec)}; expected its arguments, such as {{}}, or null for off"


def _places(config: Mapping[str, Any]) -> Iterator[str]:
    splits = config.get("datasets")
    for split, spec in splits.items() if isinstance(splits, Mapping) else ():
        yield from foreign_root(spec, split)


def _misfit(config: Mapping[str, Any], name: str, spec: Mapping[str, Any]) -> Iterator[str]:
    """Methods that an evaluation needs and that the training task or its model does not have."""
    with suppress(UserError):  # a class that cannot be found is reported with its own key
        iterator, model = locate_iterator(config), locate(config.get("model"), "model", NETWORK)
        if problem := unmet(locate_evaluation(name, spec), iterator, model):
            yield f"evaluation/{name}: {problem}; remove it, or use another iterator"


def _integrations(config: Mapping[str, Any]) -> Iterator[str]:
    integrations = config.get("integrations", {})
    if not isinstance(integrations, Mapping):
        return  # `_run_keys` has reported it
    for name, section in integrations.items():
        if name not in INTEGRATIONS:
            yield f"integrations/{name}: unknown integration{hint(name, INTEGRATIONS)}"
        elif section is not None:
            cls = known_class(INTEGRATIONS[name])
            yield from mistakes(cls, section, f"integrations/{name}", given=("folder", "config"))


def _trainer(config: Mapping[str, Any]) -> Iterator[str]:
    section = config.get("trainer", {})
    if not section or not isinstance(section, Mapping):
        return
    for name in section.keys() & SET_BY_RUN.keys():
        yield f"trainer/{name}: is set by the run; use {SET_BY_RUN[name]}"
    if "spawn" in str(strategy := section.get("strategy")) or "fork" in str(strategy):
        yield f"trainer/strategy: got {strategy}; expected one that starts commands anew, such as ddp"
    for name in POSITIVE:
        if name in section and type(section[name]) in (int, float) and section[name] <= 0:
            yield f"trainer/{name}: got {section[name]}; expected more than 0"
    for name, most in {"devices": max(16, n_cpus()), "num_nodes": MOST_NODES}.items():
        if type(section.get(name)) in (int, float) and section[name] > most:
            yield f"trainer/{name}: got {section[name]}; expected at most {most} on this machine"
    if section.get("num_nodes", 1) not in (1, None) and not os.environ.keys() & set(LAUNCHERS):
        where = "no launcher names other machines, and the training would wait for them; set MASTER_ADDR and NODE_RANK"
        yield f"trainer/num_nodes: got {section['num_nodes']}; expected 1 here: {where}"
    if (precision := section.get("precision")) in UNUSED_PRECISIONS:
        reason = "evaluations and pictures need weights in single precision"
        yield f"trainer/precision: got {precision}; expected 32-true, 16-mixed or bf16-mixed, since {reason}"
    rest = {name: value for name, value in section.items() if name not in SET_BY_RUN}
    yield from find_and_bind(partial(known_class, "pytorch_lightning.Trainer"), rest, "trainer")


def _cache(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("cache"):
        yield from find_and_bind(partial(known_class, CACHE), config["cache"], "cache")


def _iterator(config: Mapping[str, Any]) -> Iterator[str]:
    """The iterator, its object arguments, and the rest of the top level."""
    try:
        iterator = locate_iterator(config)
    except UserError as error:
        yield str(error) if "iterator" in config else "iterator: missing; expected the class of a training task"
        for part in PARTS.values():  # their checks do not depend on the iterator
            if part.section in config:
                yield from part.check(config, part.section)
        return
    yield from _objects(config, iterator)
    yield from _top_level(config, iterator)


def _objects(config: Mapping[str, Any], iterator: type) -> Iterator[str]:
    accepted, _ = parameters(iterator)
    for name, part in PARTS.items():
        if part.section in config and name in accepted:
            yield from part.check(config, part.section)
        elif part.section in config:
            yield f"{part.section}: {iterator.__name__} does not use it; remove it"
        elif name in accepted and accepted[name].default is accepted[name].empty:
            yield f"{part.section}: missing; {iterator.__name__} needs it"


def _top_level(config: Mapping[str, Any], iterator: type) -> Iterator[str]:
    """Keys that are neither the run's, nor arguments of the iterator, nor sections of a class in use."""
    accepted, anything = parameters(iterator)
    sections = {"Model", "Transformer", *SECTIONS} | ({"Loss"} if "loss" in config else set())
    scalars = [name for name in accepted if name not in PARTS]
    known = {*KEYS, *scalars, *sections}
    for name in config:
        if name not in known and not anything:
            yield f"{name}: unknown key{hint(name, known) or '; edflow --help lists the keys of a run'}"
    arguments = {name: config[name] for name in scalars if name in config and name not in KEYS}
    yield from mistakes(iterator, arguments, "", given={*KEYS, *PARTS})
