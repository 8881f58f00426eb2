"""The objects that a training task takes: the section, the check and the builder of each.

They are arguments of the task's constructor. A task with an object of a new kind needs one more entry in `PARTS`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from invariances.config.allowing import judging
from invariances.config.classes import known_class, locate
from invariances.config.nodes import CHECKPOINT, TRAINED, class_and_arguments, is_greybox, is_trained
from invariances.config.signatures import call, find_and_bind, make, parameters, prefix_errors, show
from invariances.config.sizes import require_fits
from invariances.errors import InvalidInput, UserError
from invariances.utils.names import hint

log = logging.getLogger(__name__)

Config = Mapping[str, Any]
NETWORK = "torch.nn.Module"  # base of the classes under `model` and `loss`
GREYBOX = "invariances.models.Greybox"
CONDITIONING = ("conditioning_in_channels", "conditioning_spatial_size")
LIBRARIES = ("torchvision:", "timm:")  # a prefix of any other kind is no class path, and refused as such
DIFFUSERS = "diffusers:"  # prefix of autoencoders of that library


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
    if isinstance(arguments, Mapping | None) and name == "model" and is_conditioned(config):
        # those that are absent are filled in by `resolving`
        arguments = {**dict.fromkeys(CONDITIONING, 1), **(arguments or {})}
    yield from find_and_bind(partial(locate, config.get(name), name, NETWORK), arguments, section)


def is_conditioned(config: Config) -> bool:
    """Whether `model` is a flow conditioned on a layer of the network under study."""
    with suppress(UserError):
        accepted, _ = parameters(locate(config.get("model"), "model", NETWORK))
        return "GreyboxModel" in config and accepted.keys() >= set(CONDITIONING)
    return False


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
        if "weights" in arguments:
            yield f"{section}/weights: not used with checkpoint, which holds the weights; remove it"
        arguments["model"] = ""  # placeholder for the loaded network
    elif "model" in arguments:
        yield from _check_model(arguments["model"], f"{section}/model")
        arguments["model"] = ""
    if not arguments.keys() & {"layer", "split_idx"}:
        yield f"{section}/layer: missing; give it, or split_idx"
    if isinstance(settings := arguments.get("preprocess"), Mapping):
        find = partial(known_class, "invariances.models.Preprocess")
        yield from find_and_bind(find, {"size": None, **settings}, f"{section}/preprocess")
    yield from find_and_bind(partial(known_class, GREYBOX), arguments, section)


def _check_model(node: Any, key: str) -> Iterator[str]:
    """A network under study as a name, or as a class of a library or of the user's with arguments."""
    path, arguments = class_and_arguments(node)
    if not _is_library_model(path):
        yield from find_and_bind(partial(locate, path, key, NETWORK), arguments, key)


def _build_greybox(node: Mapping[str, Any], name: str) -> Any:
    arguments = {key: build_networks(value, f"{name}/{key}") for key, value in node.items()}
    if CHECKPOINT in arguments:
        arguments["model"] = load_network(arguments.pop(CHECKPOINT))
        return _split(arguments, name)
    path, model_arguments = class_and_arguments(arguments["model"])
    if _is_library_model(path):
        return _split(arguments, name)
    network = make(locate(path, f"{name}/model", NETWORK), model_arguments, f"{name}/model")
    box = _split(arguments | {"model": network}, name)
    if arguments.get("weights") is None:
        from invariances.models.pretrained import random_weights  # imports torch

        box.caution(random_weights(path))
    return box


def _split(arguments: Mapping[str, Any], name: str) -> Any:
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
    if _is_diffusers(node):
        yield from (f"{section}/{key}: not used with {node['model']}; remove it" for key in node if key != "model")
        return
    known = (CHECKPOINT, "model", "subconfig")
    yield from (f"{section}/{key}: unknown key{hint(key, known)}" for key in node if key not in TRAINED)
    if not _is_untrained(node):
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


def _is_diffusers(node: Mapping[str, Any]) -> bool:
    """Whether an autoencoder is given as `model: "diffusers:NAME"`."""
    return str(node.get("model")).startswith(DIFFUSERS)


def _is_untrained(node: Mapping[str, Any]) -> bool:
    """Whether a network is given by its class, and explicitly without weights."""
    return "model" in node and CHECKPOINT in node and node[CHECKPOINT] is None


def _build_first_stage(config: Config, section: str, methods: tuple[str, ...]) -> Any:
    """The network of a first stage, which must have these methods; its codes are vectors."""
    from invariances.models import VectorCodes

    network, name = _first_stage(config[section])
    if missing := [method for method in methods if not hasattr(network, method)]:
        found = f"{name} holds a {type(network).__name__}, which has no {missing[0]}"
        raise UserError(f"{section}/checkpoint: {found}; expected a network with {', '.join(methods)}")
    with prefix_errors(section, InvalidInput):
        stage: Any = VectorCodes.of(network, _image_for(network, config))
    if _is_untrained(config[section]):
        stage.cautions = [f"{section}: checkpoint is null, so {name} has random weights"]
        log.warning("%s", stage.cautions[0])
    return stage


def _first_stage(node: Mapping[str, Any]) -> tuple[Any, str]:
    """The network of a first stage, and its name for messages."""
    if _is_diffusers(node):
        from invariances.models.first_stages.diffusers import load_diffusers

        return load_diffusers(node["model"]), node["model"]
    if _is_untrained(node):
        return _random_network(node), node["model"]
    return load_network(**node), node[CHECKPOINT]


def _random_network(node: Mapping[str, Any]) -> Any:
    """A network without trained weights; its normalisations, if it has any, are initialised on noise.

    Without that, activations double with each block of a deep residual network, and its codes are not usable.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.optim.swa_utils import update_bn

    from invariances.flows.layers.actnorm import ActNorm

    network = PARTS["model"].build({**(node.get("subconfig") or {}), "model": node["model"]}, "model")
    has_batch_norms, has_actnorms = (
        any(isinstance(layer, kind) for layer in network.modules()) for kind in (_BatchNorm, ActNorm)
    )
    if has_batch_norms or has_actnorms:
        noise = torch.rand(2, getattr(network, "in_channels", 3), network.in_size, network.in_size) * 2 - 1
        if has_batch_norms:
            update_bn([noise], network)  # ActNorms are initialised on the way
        else:
            with torch.no_grad():
                network(noise)
    return network.eval()


def _image_for(network: Any, config: Config) -> Any:
    """An image (1, C, H, W) in [-1, 1] of the size that a network states, or else of the data."""
    import torch

    if size := getattr(network, "in_size", None):
        return torch.zeros(1, getattr(network, "in_channels", 3), size, size)
    from invariances.config.building import build_dataset

    example = build_dataset(config, "validation")[0]
    return example["image" if "image" in example else "example1"][None]


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
    if CHECKPOINT in value and not isinstance(value[CHECKPOINT], str):
        raise UserError(f"{name}/{CHECKPOINT}: {show(value[CHECKPOINT])}; expected a path, or latest:EXPERIMENT")
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
        "AutoencoderModel", _check_trained, partial(_build_first_stage, methods=("encode", "decode"))
    ),
    "first_stage": Part("first_stage", _check_trained, partial(_build_first_stage, methods=("encode",))),
}
