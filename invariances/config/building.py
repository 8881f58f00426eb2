"""Objects from the sections of a checked config."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from invariances.config.allowing import may_write
from invariances.config.classes import known_class, locate
from invariances.config.keys import INTEGRATIONS
from invariances.config.nodes import class_and_arguments
from invariances.config.parts import NETWORK, PARTS, build_networks
from invariances.config.signatures import make, parameters, prefix_errors
from invariances.errors import InvalidInput, UserError
from invariances.utils.files import data_root, half_path
from invariances.utils.names import hint

log = logging.getLogger(__name__)

ITERATOR = "pytorch_lightning.LightningModule"
OVERFIT = "overfit_batches"  # argument of the Trainer that Lightning cannot obey, as it does not know our sampler
PART = "part"  # argument of all data sets
DEBUG_BATCHES = 2  # of each split, in a debug run


def locate_dataset(path: Any, split: str) -> type:
    """The class of a map-style data set, which has `__len__` and `__getitem__`.

    One that the user allows need not derive from torch's `Dataset`; networks, which may have these methods, do not.
    """
    key = f"datasets/{split}"
    cls = locate(path, key)
    network = issubclass(cls, known_class(NETWORK))
    if network or not all(hasattr(cls, method) for method in ("__len__", "__getitem__")) or issubclass(cls, Mapping):
        raise UserError(f"{key}: {path} is not a data set; expected a class with __len__ and __getitem__(index)")
    return cls


def foreign_root(spec: Any, split: str) -> Iterator[str]:
    """The mistake of a data set's `root`, where it unpacks and caches pictures, that the user has not agreed to."""
    root = spec.get("root") if isinstance(spec, Mapping) else None
    if isinstance(root, str) and not may_write(root):
        yield (
            f"datasets/{split}/root: {root} lies outside of the data folder {data_root()}, and data sets write to "
            f"their root; if you want that, add --datasets/{split}/root {root}"
        )


def build_dataset(config: Mapping[str, Any], split: str) -> Any:
    """The data set of a split; its `seed`, if the constructor takes one and none is given, is that of the run."""
    from invariances.data.part import Part  # imports torch

    path, arguments = class_and_arguments(config["datasets"][split])
    cls = locate_dataset(path, split)
    arguments, part = without_part(cls, arguments)
    if "seed" in parameters(cls)[0] and "seed" in config:
        arguments = {"seed": config["seed"]} | arguments
    dataset = make(cls, arguments, f"datasets/{split}")
    return dataset if part is None else make(Part, {"dataset": dataset, **part}, f"datasets/{split}/{PART}")


def without_part(cls: type, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The arguments of a data set, and its `part`, which every data set may have; see `invariances.data.Part`."""
    if PART in parameters(cls)[0]:
        return dict(arguments), None
    return {name: value for name, value in arguments.items() if name != PART}, arguments.get(PART)


def build_loader(config: Mapping[str, Any], split: str, debug: bool = False) -> Any:
    """The `Loader` of a split, `train` or `validation`; a debug run takes a few examples."""
    from invariances.data.loader import First, Loader  # imports torch

    dataset = build_dataset(config, split)
    few = DEBUG_BATCHES if debug else config["trainer"].get(OVERFIT) if split == "train" else None
    if few:  # a share of all examples, or a number of batches
        dataset = First(dataset, int(few * (len(dataset) if isinstance(few, float) else config["batch_size"])) or 1)
    with prefix_errors(f"datasets/{split}", InvalidInput):
        return Loader(
            dataset,
            config["batch_size"],
            seed=config["seed"],
            shuffle=split == "train",
            n_workers=config["n_data_processes"],
        )


def evaluation_specs(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the evaluations that are switched on, by name.

    `fid` at the top level counts as `evaluation/fid`, and `fid_stats` as a part of it.
    """
    specs = dict(config.get("evaluation") or {})
    if config.get("fid") is not None:
        specs["fid"] = config["fid"]
    statistics = config.get("fid_stats")
    if isinstance(specs.get("fid"), Mapping) and isinstance(statistics, Mapping):
        specs["fid"] = {**statistics, **specs["fid"]}
    return {name: spec for name, spec in specs.items() if spec is not None}


def locate_evaluation(name: str, spec: Mapping[str, Any]) -> type:
    """The class of an evaluation: registered under its name, or given as `class`."""
    from invariances.evaluation import EVALUATIONS  # imports matplotlib

    key = f"evaluation/{name}"
    if "class" in spec:
        return locate(spec["class"], key, "invariances.evaluation.Evaluation")
    if name not in EVALUATIONS:
        raise UserError(f"{key}: unknown evaluation; expected a registered name or a `class`{hint(name, EVALUATIONS)}")
    return EVALUATIONS[name]


def build_evaluations(config: Mapping[str, Any], debug: bool = False) -> dict[str, Any]:
    """The evaluations of a config by name; a debug run does not use files of statistics."""
    evaluations = {}
    for name, spec in evaluation_specs({**config, "fid_stats": None} if debug else config).items():
        section = f"evaluation/{name}"
        arguments = build_networks(_without_new_file(config, class_and_arguments(spec)[1]), section)
        evaluations[name] = make(locate_evaluation(name, spec), arguments, section)
    return evaluations


def _without_new_file(config: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments without a file of statistics that is not there, where a config may not have files written."""
    given = arguments.get("pre_calc_stat_path")
    if not isinstance(given, str) or may_write(given):
        return arguments
    path = Path(given)
    if hasattr(locate_iterator(config), "sample_like"):  # compares with a half of the images
        path = half_path(path, arguments.get("seed", 0))
    if path.is_file():
        return arguments
    log.info("pre_calc_stat_path: %s is not there, and lies outside of the data folder: using the cache", path)
    return {name: value for name, value in arguments.items() if name != "pre_calc_stat_path"}


def build_integrations(config: Mapping[str, Any], folder: Path) -> list[Any]:
    """The loggers of other services that are switched on.

    Args:
        config: resolved.
        folder: the run's folder.
    """
    sections = {name: section for name, section in config["integrations"].items() if section is not None}
    return [
        make(
            known_class(INTEGRATIONS[name]),
            {**section, "folder": folder, "config": config},
            f"integrations/{name}",
        )
        for name, section in sections.items()
    ]


def learning_rate(config: Mapping[str, Any]) -> float:
    """`learning_rate`, or `base_learning_rate` × `batch_size`; 0 if an evaluation's config has neither."""
    if "learning_rate" in config:
        return float(config["learning_rate"])
    return float(config.get("base_learning_rate", 0) * config["batch_size"])


def locate_iterator(config: Mapping[str, Any]) -> type:
    """The class of the training task."""
    return locate(config.get("iterator"), "iterator", ITERATOR)


def build_iterator(config: Mapping[str, Any], num_steps: int) -> Any:
    """The training task, from the values at the top level and from the sections that are present.

    Args:
        config: resolved.
        num_steps: length of the training; replaces that of the config.
    """
    iterator = locate_iterator(config)
    accepted, _ = parameters(iterator)
    derived = {**config, "num_steps": num_steps, "learning_rate": learning_rate(config)}
    arguments = {name: derived[name] for name in accepted if name in derived and name not in PARTS}
    for name, part in PARTS.items():
        if name in accepted and part.section in config:
            arguments[name] = part.build(config, part.section)
    return make(iterator, arguments, "iterator")
