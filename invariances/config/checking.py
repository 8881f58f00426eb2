"""Everything that can be wrong with a config, found before any work and told at once.

Each function below looks at one part of the config and yields its mistakes, one line each.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from invariances.config.building import (
    class_and_arguments,
    evaluation_specs,
    locate_dataset,
    locate_evaluation,
    locate_network,
    locate_part,
    names_a_class,
    section_of,
)
from invariances.config.classes import describe, fits, locate, mistakes, parameters, show
from invariances.config.keys import INTEGRATIONS, KEYS, OBJECTS, PAIRS, Key
from invariances.errors import UserError
from invariances.utils.names import hint

# Arguments of Lightning's Trainer that a run sets itself, and what to write in their place.
TRAINER_OURS = {
    "callbacks": "evaluation",
    "default_root_dir": "-n NAME",
    "barebones": "nothing: it would leave out logs and checkpoints",
    "enable_checkpointing": "ckpt_freq",
    "fast_dev_run": "-d",
    "log_every_n_steps": "log_freq",
    "logger": "integrations",
    "max_epochs": "num_epochs",
    "max_steps": "num_steps",
    "num_sanity_val_steps": "nothing: such steps would initialise ActNorm on validation images",
    "use_distributed_sampler": "nothing: the examples are shared out over the devices already",
}
NOT_ZERO = (  # arguments of the Trainer with which nothing would be trained or measured
    "accumulate_grad_batches",
    "check_val_every_n_epoch",
    "limit_train_batches",
    "limit_val_batches",
    "val_check_interval",
)
LARGEST = 2**63  # no count and no number of a run comes near it
OPTIONAL = {*KEYS, *OBJECTS.values(), "Model", "Transformer", "Loss"}  # null means: not given


def check(config: Mapping[str, Any], train: bool = True) -> dict[str, Any]:
    """Bind every section to what it configures.

    Args:
        config: as `read` gives it.
        train: whether the run trains; then `datasets/train`, a length and a learning rate are needed too.

    Returns:
        the config with the defaults of the run's own keys, and without keys and sections that are null.

    Raises:
        UserError: all mistakes, one a line.
    """
    given = {name: value for name, value in config.items() if value is not None or name not in OPTIONAL}
    parts = [_run_keys(given), _mode(given, train), _pairs(given, train), _datasets(given, train), _evaluations(given)]
    parts += [_integrations(given), _trainer(given), _iterator(given)]
    found = [line for part in parts for line in part]
    if len(found) == 1:
        raise UserError(found[0])
    if found:
        raise UserError("\n  ".join([f"{len(found)} mistakes in the config", *found]))
    defaults = {name: key.default for name, key in KEYS.items() if key.default is not None}
    return given | {name: value for name, value in defaults.items() if name not in given}


def _run_keys(config: Mapping[str, Any]) -> Iterator[str]:
    for name, key in KEYS.items():
        if name in config and not _allowed(config[name], key):
            yield f"{name}: {show(config[name])}; expected {_expected(key)}"


def _mode(config: Mapping[str, Any], train: bool) -> Iterator[str]:
    if train and config.get("test_mode") is True:
        yield "test_mode: true, so the config only evaluates; leave -t out, or give --test_mode false"


def _allowed(value: Any, key: Key) -> bool:
    if not fits(value, key.kind):
        return False
    if key.kind not in (int, float):
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


def _bind(find: Callable[[], type], arguments: Any, section: str) -> Iterator[str]:
    """Why a class cannot be found, or else what is wrong with its arguments."""
    try:
        cls = find()
    except UserError as error:
        yield str(error)
        return
    yield from mistakes(cls, {} if arguments is None else arguments, section)


def _datasets(config: Mapping[str, Any], train: bool) -> Iterator[str]:
    splits = config.get("datasets", {})
    if not isinstance(splits, Mapping):
        return  # `_run_keys` has said so
    for split in ("train", "validation") if train else ("validation",):
        if split not in splits:
            yield f"datasets/{split}: missing; expected the dotted class of a data set"
    for split, spec in splits.items():
        if split not in ("train", "validation"):
            yield f"datasets/{split}: unknown split{hint(split, ('train', 'validation'))}"
            continue
        path, arguments = class_and_arguments(spec)
        yield from _bind(partial(locate_dataset, path, split), arguments, f"datasets/{split}")


def _evaluations(config: Mapping[str, Any]) -> Iterator[str]:
    section = config.get("evaluation", {})
    if not isinstance(section, Mapping):
        return  # `_run_keys` has said so
    if "fid" in config and section.get("fid") is not None:
        yield "fid, evaluation/fid: both are given; keep one of them"
    for name, spec in evaluation_specs(config).items():
        if isinstance(spec, Mapping):
            arguments = class_and_arguments(spec)[1]
            yield from _bind(partial(locate_evaluation, name, spec), arguments, f"evaluation/{name}")
        else:
            yield f"evaluation/{name}: {show(spec)}; expected its arguments, such as {{}}, or null for off"


def _integrations(config: Mapping[str, Any]) -> Iterator[str]:
    integrations = config.get("integrations", {})
    if not isinstance(integrations, Mapping):
        return  # `_run_keys` has said so
    for name, section in integrations.items():
        if name not in INTEGRATIONS:
            yield f"integrations/{name}: unknown integration{hint(name, INTEGRATIONS)}"
        elif section is not None:
            cls = locate(INTEGRATIONS[name], f"integrations/{name}")
            yield from mistakes(cls, section, f"integrations/{name}", given=("folder", "config"))


def _trainer(config: Mapping[str, Any]) -> Iterator[str]:
    section = config.get("trainer", {})
    if not section or not isinstance(section, Mapping):
        return
    for name in section.keys() & TRAINER_OURS.keys():
        yield f"trainer/{name}: is set by the run; write {TRAINER_OURS[name]} in its place"
    for name in NOT_ZERO:
        if name in section and type(section[name]) in (int, float) and section[name] <= 0:
            yield f"trainer/{name}: got {section[name]}; expected more than 0"
    rest = {name: value for name, value in section.items() if name not in TRAINER_OURS}
    yield from _bind(partial(locate, "pytorch_lightning.Trainer", "trainer"), rest, "trainer")


def _iterator(config: Mapping[str, Any]) -> Iterator[str]:
    """The iterator, the objects it takes, and the rest of the top level."""
    try:
        iterator = locate_part(config, "iterator")
    except UserError as error:
        yield str(error) if "iterator" in config else "iterator: missing; expected the class of a training task"
        for name, section in OBJECTS.items():  # what they take does not depend on the iterator
            if section in config:
                yield from PARTS[name](config, section)
        return
    yield from _objects(config, iterator)
    yield from _top_level(config, iterator)


def _objects(config: Mapping[str, Any], iterator: type) -> Iterator[str]:
    accepted, _ = parameters(iterator)
    for name, section in OBJECTS.items():
        if section in config and name in accepted:
            yield from PARTS[name](config, section)
        elif section in config:
            yield f"{section}: {iterator.__name__} does not use it; remove it"
        elif name in accepted and accepted[name].default is accepted[name].empty:
            yield f"{section}: missing; {iterator.__name__} needs it"


def _top_level(config: Mapping[str, Any], iterator: type) -> Iterator[str]:
    """Every key is one of the run's, an argument of the iterator, or a section of a class that is named."""
    accepted, anything = parameters(iterator)
    sections = {"Model", "Transformer", *OBJECTS.values()} | ({"Loss"} if "loss" in config else set())
    scalars = [name for name in accepted if name not in OBJECTS]
    known = {*KEYS, *scalars, *sections}
    for name in config:
        if name not in known and not anything:
            yield f"{name}: unknown key{hint(name, known) or '; edflow --help lists the keys of a run'}"
    arguments = {name: config[name] for name in scalars if name in config and name not in KEYS}
    yield from mistakes(iterator, arguments, "", given={*KEYS, *OBJECTS})


def _network(config: Mapping[str, Any], name: str) -> Iterator[str]:
    """`model` or `loss` with its section."""
    if name == "model" and "Model" in config and "Transformer" in config:
        yield "Model, Transformer: both are given; the arguments of the model stand in one of them"
    section = section_of(config, name)
    arguments = config.get(section)
    if section == "Transformer" and isinstance(arguments, Mapping) and _settled_later(arguments):
        arguments = {**arguments, "factor_config": None}
    yield from _bind(partial(locate_part, config, name), arguments, section)


def _settled_later(section: Mapping[str, Any]) -> bool:
    """Whether the sizes of the factors are `auto` or in a file, and become a list when the run begins."""
    return isinstance(section.get("factor_config"), str)


def _greybox(config: Mapping[str, Any], name: str) -> Iterator[str]:
    """The arguments of `Greybox`; `checkpoint` in place of `model` where the network comes from a run."""
    section = config[name]
    if not isinstance(section, Mapping):
        yield f"{name}: {show(section)}; expected a mapping with model or checkpoint, and layer"
        return
    arguments = {key: value for key, value in section.items() if key != "checkpoint"}
    if "checkpoint" in section:
        yield from _checkpoint(section, name)
        if "model" in arguments:
            yield f"{name}/model, {name}/checkpoint: both are given; keep one of them"
        arguments["model"] = ""  # stands for the loaded network
    elif "model" in arguments and names_a_class(arguments["model"]):
        yield from _bind(partial(locate_network, arguments["model"], f"{name}/model"), {}, f"{name}/model")
    yield from _bind(partial(locate, "invariances.models.Greybox", name), arguments, name)


def _first_stage(config: Mapping[str, Any], name: str) -> Iterator[str]:
    """A checkpoint of ours alone, or weights with `model` and `subconfig`, which say what they belong to."""
    section = config[name]
    if not isinstance(section, Mapping):
        yield f"{name}: {show(section)}; expected a mapping with checkpoint"
        return
    for key in section:
        if key not in ("checkpoint", "model", "subconfig"):
            yield f"{name}/{key}: unknown key{hint(key, ('checkpoint', 'model', 'subconfig'))}"
    yield from _checkpoint(section, name)
    subconfig = section.get("subconfig", {})
    if not isinstance(subconfig, Mapping):
        yield f"{name}/subconfig: {show(subconfig)}; expected a mapping with Model"
    elif "model" in section:
        where = section_of(subconfig, "model")
        find = partial(locate_network, section["model"], f"{name}/model")
        yield from _bind(find, subconfig.get(where), f"{name}/subconfig/{where}")
    elif subconfig:
        yield f"{name}/subconfig: not used without {name}/model; the checkpoint's own config is"


def _checkpoint(section: Mapping[str, Any], name: str) -> Iterator[str]:
    if not isinstance(section.get("checkpoint"), str):
        found = show(section["checkpoint"]) if "checkpoint" in section else "missing"
        yield f"{name}/checkpoint: {found}; expected a path, or latest:EXPERIMENT"


PARTS = {
    "model": _network,
    "loss": _network,
    "greybox": _greybox,
    "autoencoder": _first_stage,
    "first_stage": _first_stage,
}
