"""Recognise the values of a config that describe a network or a checkpoint.

- `{checkpoint: …}`, with `model` and `subconfig` for files that do not name their class: a trained network.
- `{checkpoint: …, layer: …}` or `{model: …, layer: …}`: a network split at a layer; `split_idx` may replace `layer`.
- text under a key `checkpoint`, in any section: a checkpoint, as a path or as latest:EXPERIMENT.
- text under a key `weights` that starts with zoo:, hub: or latest:, the same.
"""

from collections.abc import Callable, Mapping
from typing import Any

CHECKPOINT = "checkpoint"
TRAINED = {CHECKPOINT, "model", "subconfig"}
WEIGHTS = ("zoo:", "hub:", "latest:")  # other text under `weights` is a file, or a name that a library knows


def is_greybox(node: Any) -> bool:
    """Whether a value of a config describes a network split at a layer.

    >>> is_greybox({"model": "torchvision:alexnet", "layer": "features.11"}), is_greybox({"checkpoint": "a.ckpt"})
    (True, False)
    """
    named = isinstance(node, Mapping) and bool(node.keys() & {CHECKPOINT, "model"})
    return named and bool(node.keys() & {"layer", "split_idx"}) and "class" not in node


def is_trained(node: Any) -> bool:
    """Whether a value of a config describes a trained network.

    >>> is_trained({"checkpoint": "a.ckpt"}), is_trained({"checkpoint": "a.ckpt", "layers": ["conv1"]})
    (True, False)
    """
    return isinstance(node, Mapping) and CHECKPOINT in node and node.keys() <= TRAINED


def is_network(node: Any) -> bool:
    """Whether a value of a config describes a network."""
    return is_greybox(node) or is_trained(node)


def is_network_type(kind: type) -> bool:
    """Whether a class is a torch.nn.Module; does not import torch."""
    return any(base.__module__ == "torch.nn.modules.module" for base in kind.__mro__)


def map_checkpoints(value: Any, key: str, function: Callable[[str, str], str]) -> Any:
    """A part of a config with each checkpoint replaced by what `function(text, its key)` returns.

    >>> map_checkpoints({"first_stage": {"checkpoint": "latest:ae"}}, "", lambda text, key: f"{key} was {text}")
    {'first_stage': {'checkpoint': 'first_stage/checkpoint was latest:ae'}}
    """
    if isinstance(value, Mapping):
        return {name: map_checkpoints(item, f"{key}/{name}".lstrip("/"), function) for name, item in value.items()}
    section, _, name = key.rpartition("/")
    if not section or not isinstance(value, str):
        return value
    names_checkpoint = name == CHECKPOINT or (name == "weights" and value.startswith(WEIGHTS))
    return function(value, key) if names_checkpoint else value


def class_and_arguments(spec: Any) -> tuple[Any, Any]:
    """The class path and the arguments of `package.Class` or `{class: package.Class, argument: value}`."""
    if not isinstance(spec, Mapping):
        return spec, {}
    return spec.get("class"), {name: value for name, value in spec.items() if name != "class"}
