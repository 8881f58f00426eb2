"""The objects that a training task takes: the section, the check and the builder of each.

They are arguments of the task's constructor. A task with an object of a new kind needs one more entry in `PARTS`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from invariances.config.allowing import judging
from invariances.config.classes import known_class, locate
from invariances.config.nodes import CHECKPOINT, TRAINED, is_greybox, is_trained
from invariances.config.signatures import call, find_and_bind, make, prefix_errors, show
from invariances.config.sizes import require_fits
from invariances.errors import InvalidInput, UserError
from invariances.utils.names import hint

Config = Mapping[str, Any]
NETWORK = "torch.nn.Module"  # base of the classes under `model` and `loss`
GREYBOX = "invariances.models.Greybox"
LIBRARIES = ("torchvision:", "timm:")  # a prefix of any other kind is no class path, and refused as such


@dataclass(frozen=True)
class Part:
    """An argument of a training task that is an object.

    Attributes:
        section: key of the config that describes it.
        check: (config, section) -> mistakes, one line each; nothing is built.
        build: (config, section) -> the object.
    """

    section: str
    check: Callable[[Config, str], Iterator[str]]
    build: Callable[[Config, str], Any]


# Networks that a config names by class: `model` and `loss`, with their arguments in a section of their own.


def arguments_section(config: Config, name: str) -> str:
    """The section with the arguments of `model` (Transformer if the config has it, else Model) or `loss` (Loss)."""
    if name == "model":
        return "Transformer" if "Transformer" in config else "Model"
    return name.capitalize()


def _check_class(config: Config, name: str) -> Iterator[str]:
    if name == "model" and "Model" in config and "Transformer" in config:
        yield "Model, Transformer: both are given; keep one of them"
    section = arguments_section(config, name)
    arguments = config.get(section)
    if isinstance(arguments, Mapping) and isinstance(arguments.get("factor_config"), str):
        arguments = {**arguments, "factor_config": None}  # auto or a file, which `resolving` replaces by a list
    yield from find_and_bind(partial(locate, config.get(name), name, NETWORK), arguments, section)


def _build_class(config: Config, name: str) -> Any:
    section = arguments_section(config, name)
    arguments = build_networks(config.get(section) or {}, section)
    cls = locate(config.get(name), name, NETWORK)
    if cls.__module__.startswith(("invariances.", "torch.nn.")):  # others may do more than build
        require_fits(lambda: call(cls, arguments), section)
    return make(cls, arguments, section)


# A network split at a layer.


def _check_greybox(config: Config, section: str) -> Iterator[str]:
    node = config[section]
    if not isinstance(node, Mapping):
        yield f"{section}: {show(node)}; expected a mapping with model or checkpoint, and layer"
        return
    arguments = {key: value for key, value in node.items() if key != CHECKPOINT}
    if CHECKPOINT in node:
        yield from _check_checkpoint(node, section)
        if "model" in arguments:
            yield f"{section}/model, {section}/checkpoint: both are given; keep one of them"
        arguments["model"] = ""  # placeholder for the loaded network
    elif "model" in arguments and not _is_library_model(arguments["model"]):
        find = partial(locate, arguments["model"], f"{section}/model", NETWORK)
        yield from find_and_bind(find, {}, f"{section}/model")
    yield from find_and_bind(partial(known_class, GREYBOX), arguments, section)


def _build_greybox(node: Mapping[str, Any], name: str) -> Any:
    arguments = {key: build_networks(value, f"{name}/{key}") for key, value in node.items()}
    if CHECKPOINT in arguments:
        arguments["model"] = load_network(arguments.pop(CHECKPOINT))
    elif not _is_library_model(arguments["model"]):
        arguments["model"] = make(locate(arguments["model"], f"{name}/model", NETWORK), {}, f"{name}/model")
    with prefix_errors(name, InvalidInput, MemoryError):  # other errors come from the network's own forward pass
        return known_class(GREYBOX)(**arguments)


def _is_library_model(model: Any) -> bool:
    """Whether a model is given as in `torchvision:alexnet`, and not as a dotted class."""
    return isinstance(model, str) and model.startswith(LIBRARIES)


# A network from a checkpoint.


def _check_trained(config: Config, section: str) -> Iterator[str]:
    """A checkpoint of this package, or a file of weights with its class and arguments in `model` and `subconfig`."""
    node = config[section]
    if not isinstance(node, Mapping):
        yield f"{section}: {show(node)}; expected a mapping with checkpoint"
        return
    known = (CHECKPOINT, "model", "subconfig")
    yield from (f"{section}/{key}: unknown key{hint(key, known)}" for key in node if key not in TRAINED)
    yield from _check_checkpoint(node, section)
    subconfig = node.get("subconfig", {})
    if not isinstance(subconfig, Mapping):
        yield f"{section}/subconfig: {show(subconfig)}; expected a mapping with Model"
    elif "model" in node:
        where = arguments_section(subconfig, "model")
        find = partial(locate, node["model"], f"{section}/model", NETWORK)
        yield from find_and_bind(find, subconfig.get(where), f"{section}/subconfig/{where}")
    elif subconfig:
        yield f"{section}/subconfig: not used without {section}/model, the checkpoint has its own config; remove it"


def _check_checkpoint(node: Mapping[str, Any], section: str) -> Iterator[str]:
    if not isinstance(node.get(CHECKPOINT), str):
        found = show(node[CHECKPOINT]) if CHECKPOINT in node else "missing"
        yield f"{section}/checkpoint: {found}; expected a path, or latest:EXPERIMENT"


def _build_trained(config: Config, section: str, attributes: tuple[str, ...]) -> Any:
    """The network of a checkpoint, which must have these attributes."""
    network = load_network(**config[section])
    if missing := [attribute for attribute in attributes if not hasattr(network, attribute)]:
        found = f"{config[section][CHECKPOINT]} holds a {type(network).__name__}, which has no {missing[0]}"
        raise UserError(f"{section}/checkpoint: {found}; expected a network with {', '.join(attributes)}")
    return network


def load_network(
    checkpoint: str | Path, model: str | None = None, subconfig: Mapping[str, Any] | None = None
) -> Any:
    """Load a trained network, a torch.nn.Module, from a checkpoint, in evaluation mode.

    Args:
        checkpoint: saved by a run, with the run's config in it; or any file of weights.
        model: dotted class; needed for a file without a config.
        subconfig: arguments of the class, as `{"Model": {…}}`.

    Raises:
        UserError: the file cannot be read, or has no config and `model` is not given, or the weights do not fit; or
            its config names a class that is not allowed, see `invariances.config.allowing`.
    """
    from invariances.utils import checkpoints  # imports torch: a config is checked without it

    path = Path(checkpoint)
    state = checkpoints.load(path)
    config = {**(subconfig or {}), "model": model} if model is not None else state.get("config")
    if not isinstance(config, Mapping):
        raise UserError(f"{path}: holds weights without a config; expected the class of the network as `model`")
    with judging(*([path] if model is None else [])):
        if mistakes := "; ".join(PARTS["model"].check(config, "model")):
            raise UserError(mistakes if model or str(path) in mistakes else f"{path}: its config: {mistakes}")
        network = PARTS["model"].build(config, "model")
    checkpoints.load_weights(network, state, path)
    return network.eval()


def build_networks(value: Any, name: str) -> Any:
    """Replace each description of a network in a part of a config by the network.

    In a mapping with other keys, as `{checkpoint: …, layers: […]}`, only the checkpoint is replaced.

    Args:
        value: part of the config.
        name: its key, for messages.
    """
    if not isinstance(value, Mapping):
        return value
    if is_greybox(value):
        return _build_greybox(value, name)
    if is_trained(value):
        return load_network(**value)
    return {
        key: load_network(item) if key == CHECKPOINT else build_networks(item, f"{name}/{key}")
        for key, item in value.items()
    }


PARTS = {
    "model": Part("model", _check_class, _build_class),
    "loss": Part("loss", _check_class, _build_class),
    "greybox": Part("GreyboxModel", _check_greybox, lambda config, name: _build_greybox(config[name], name)),
    "autoencoder": Part(
        "AutoencoderModel", _check_trained, partial(_build_trained, attributes=("encode", "decode", "z_dim"))
    ),
    "first_stage": Part("first_stage", _check_trained, partial(_build_trained, attributes=("encode", "z_dim"))),
}
