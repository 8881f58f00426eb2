"""From the sections of a checked config to networks; frozen ones come from their checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from invariances import config as configs
from invariances.errors import UserError, named
from invariances.models import Greybox
from invariances.utils import checkpoints


def _build_loss(config: dict[str, Any]) -> nn.Module:
    return configs.build_loss({**config, "Loss": with_networks(config.get("Loss"), "Loss")})


def _build_greybox(section: dict[str, Any], name: str) -> Greybox:
    section = {key: with_networks(value, f"{name}/{key}") for key, value in section.items()}
    if "checkpoint" in section:
        section["model"] = load_model(section.pop("checkpoint"))
    elif configs.names_a_class(section["model"]):
        section["model"] = configs.build_named(section["model"], f"{name}/model")
    with named(name):
        return Greybox(**section)


def _build_first_stage(section: dict[str, Any], name: str, *expected: str) -> nn.Module:
    """The network of a checkpoint, which has to have these attributes."""
    network = load_model(**section)
    if missing := [attribute for attribute in expected if not hasattr(network, attribute)]:
        found = f"{section['checkpoint']} holds a {type(network).__name__}, which has no {missing[0]}"
        raise UserError(f"{name}/checkpoint: {found}; expected a network with {', '.join(expected)}")
    return network


def with_networks(section: Any, name: str) -> Any:
    """A section of a config with networks in place of what names them by a checkpoint.

    `{checkpoint: …, layer: …}` and `{model: …, layer: …}` become a `Greybox`; `{checkpoint: …}` a trained network,
    which among other keys takes the place of the checkpoint alone.
    """
    if not isinstance(section, dict):
        return section
    if "layer" in section and "class" not in section and section.keys() & {"checkpoint", "model"}:
        return _build_greybox(section, name)
    if "checkpoint" not in section:
        return {key: with_networks(value, f"{name}/{key}") for key, value in section.items()}
    if section.keys() <= {"checkpoint", "model", "subconfig"}:
        return _build_first_stage(section, name)
    return section | {"checkpoint": load_model(section["checkpoint"])}


# what an iterator may take, by the name of its argument
BUILDERS = {
    "model": configs.build_model,
    "loss": _build_loss,
    "greybox": lambda config: _build_greybox(config["GreyboxModel"], "GreyboxModel"),
    "autoencoder": lambda config: _build_first_stage(
        config["AutoencoderModel"], "AutoencoderModel", "encode", "decode", "z_dim"
    ),
    "first_stage": lambda config: _build_first_stage(config["first_stage"], "first_stage", "encode", "z_dim"),
}


def load_model(
    checkpoint: str | Path, model: str | None = None, subconfig: Mapping[str, Any] | None = None
) -> nn.Module:
    """A trained network, in evaluation mode, from a checkpoint alone.

    Args:
        checkpoint: a file of ours, which names its class in its own config; or any file of weights.
        model: dotted class, for a file that does not name it.
        subconfig: its arguments, as `{"Model": {…}}`.

    Raises:
        UserError: the file cannot be read, names no class, or its weights do not fit the class.
    """
    path = Path(checkpoint)
    state = checkpoints.load(path)
    config = {**(subconfig or {}), "model": model} if model is not None else state.get("config")
    if not isinstance(config, Mapping):
        raise UserError(f"{path}: does not say of which class its weights are; name it with `model`")
    network = configs.build_model(config)
    checkpoints.load_weights(network, state, path)
    return network.eval()
