"""Objects from the sections of a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invariances.config.classes import cast, locate, parameters
from invariances.config.keys import INTEGRATIONS, OBJECTS
from invariances.errors import UserError, named
from invariances.utils.names import hint

# What the class under a key has to be. A config may come from a stranger: without this, it could have any
# class of any installed module called with arguments of its choice.
BASES = {
    "model": "torch.nn.Module",
    "loss": "torch.nn.Module",
    "iterator": "pytorch_lightning.LightningModule",
}


def make(cls: type, arguments: Mapping[str, Any], section: str) -> Any:
    """Call a constructor with the arguments of a section."""
    accepted, _ = parameters(cls)
    kinds = {name: parameter.annotation for name, parameter in accepted.items()}
    with named(section):
        return cls(**{name: cast(value, kinds.get(name)) for name, value in arguments.items()})


def locate_part(config: Mapping[str, Any], name: str) -> type:
    """The class under `model`, `loss` or `iterator`."""
    return locate(config.get(name), name, BASES[name])


def section_of(config: Mapping[str, Any], name: str) -> str:
    """Where the arguments of `model` (Transformer if the config has it, or Model) or `loss` (Loss) stand."""
    if name == "model":
        return "Transformer" if "Transformer" in config else "Model"
    return name.capitalize()


def build(config: Mapping[str, Any], name: str) -> Any:
    """The `model` or `loss` of a config, with the arguments of its section.

    Raises:
        UserError: the class cannot be found, or its constructor refuses the arguments.
    """
    section = section_of(config, name)
    return make(locate_part(config, name), config.get(section) or {}, section)


def names_a_class(model: Any) -> bool:
    """Whether the `model` of a greybox is a dotted class, and not a model of a library such as torchvision:alexnet."""
    return not (isinstance(model, str) and ":" in model)


def locate_network(path: Any, key: str) -> type:
    """The class of a network at a dotted path."""
    return locate(path, key, BASES["model"])


def build_named(path: str, key: str) -> Any:
    """A network of the class at a dotted path, made without arguments."""
    return make(locate_network(path, key), {}, key)


def build_model(config: Mapping[str, Any]) -> Any:
    """`model` with the arguments in `Model` or `Transformer`."""
    return build(config, "model")


def build_loss(config: Mapping[str, Any]) -> Any:
    """`loss` with the arguments in `Loss`."""
    return build(config, "loss")


def class_and_arguments(spec: Any) -> tuple[Any, Any]:
    """Both parts of a dotted class, or of `{class: dotted, argument: value}`."""
    if not isinstance(spec, Mapping):
        return spec, {}
    return spec.get("class"), {name: value for name, value in spec.items() if name != "class"}


def locate_dataset(path: Any, split: str) -> type:
    """The class of a data set: map-style, that is, with `__len__` and `__getitem__`."""
    key = f"datasets/{split}"
    cls = locate(path, key)
    if not all(hasattr(cls, method) for method in ("__len__", "__getitem__")) or issubclass(cls, Mapping):
        raise UserError(f"{key}: {path} is no data set; expected a class with __len__ and __getitem__(index)")
    return cls


def build_dataset(config: Mapping[str, Any], split: str) -> Any:
    """The data set of a split, with the run's seed if its constructor takes one and none is given."""
    path, arguments = class_and_arguments(config["datasets"][split])
    cls = locate_dataset(path, split)
    if "seed" in parameters(cls)[0] and "seed" in config:
        arguments = {"seed": config["seed"]} | arguments
    return make(cls, arguments, f"datasets/{split}")


def evaluation_specs(config: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluations that are switched on, by name.

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
    from invariances.evaluation import EVALUATIONS  # imported late: plotting comes along

    key = f"evaluation/{name}"
    if "class" in spec:
        return locate(spec["class"], key, "invariances.evaluation.Evaluation")
    if name not in EVALUATIONS:
        raise UserError(f"{key}: unknown evaluation, and no `class` in it{hint(name, EVALUATIONS)}")
    return EVALUATIONS[name]


def build_evaluations(config: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluations of a config, by name."""
    return {
        name: make(locate_evaluation(name, spec), class_and_arguments(spec)[1], f"evaluation/{name}")
        for name, spec in evaluation_specs(config).items()
    }


def build_integrations(config: Mapping[str, Any], folder: Path) -> list[Any]:
    """The loggers of other services that a config asks for.

    Args:
        config: resolved.
        folder: of the run.
    """
    sections = {name: section for name, section in config["integrations"].items() if section is not None}
    return [
        make(
            locate(INTEGRATIONS[name], f"integrations/{name}"),
            {**section, "folder": folder, "config": config},
            f"integrations/{name}",
        )
        for name, section in sections.items()
    ]


def takes(config: Mapping[str, Any], name: str) -> bool:
    """Whether the iterator's constructor has an argument of this name."""
    return name in parameters(locate_part(config, "iterator"))[0]


def learning_rate(config: Mapping[str, Any]) -> float:
    """`learning_rate`, or `base_learning_rate` × `batch_size`; 0 if an evaluation's config has neither."""
    if "learning_rate" in config:
        return float(config["learning_rate"])
    return float(config.get("base_learning_rate", 0) * config["batch_size"])


def iterator_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The iterator's arguments that stand at the top level, and the learning rate; no objects."""
    accepted, _ = parameters(locate_part(config, "iterator"))
    arguments = {name: config[name] for name in accepted if name in config and name not in OBJECTS}
    if "learning_rate" in accepted:
        arguments["learning_rate"] = learning_rate(config)
    return arguments


def build_iterator(config: Mapping[str, Any], **arguments: Any) -> Any:
    """The iterator, from `iterator_arguments` and its objects."""
    return make(locate_part(config, "iterator"), arguments, "iterator")
