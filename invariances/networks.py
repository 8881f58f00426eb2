"""From the sections of a checked config to networks; frozen ones come from their checkpoints."""

from typing import Any

from torch import nn

from invariances import checkpoint as checkpoints
from invariances import config as configs
from invariances.errors import UserError
from invariances.models import Greybox


def _build_loss(config: dict[str, Any]) -> nn.Module:
    return configs.build_loss({**config, "Loss": with_networks(config.get("Loss"), "Loss")})


def _build_greybox(section: dict[str, Any], name: str) -> Greybox:
    section = {key: with_networks(value, f"{name}/{key}") for key, value in section.items()}
    if "checkpoint" in section:
        section["model"] = checkpoints.load_model(section.pop("checkpoint"))
    elif configs.names_a_class(section["model"]):
        section["model"] = configs.build_named(section["model"], f"{name}/model")
    with configs.named(name):
        return Greybox(**section)


def _build_first_stage(section: dict[str, Any], name: str, *wanted: str) -> nn.Module:
    """The network of a checkpoint, which has to have these attributes."""
    network = checkpoints.load_model(**section)
    if missing := [attribute for attribute in wanted if not hasattr(network, attribute)]:
        found = f"{section['checkpoint']} holds a {type(network).__name__}, which has no {missing[0]}"
        raise UserError(f"{name}/checkpoint: {found}; wanted a network with {', '.join(wanted)}")
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
    return section | {"checkpoint": checkpoints.load_model(section["checkpoint"])}


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
