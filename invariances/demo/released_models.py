"""Released models that the demo can show: conditional INNs of the zoo, with the configs that ship with the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invariances.config.nodes import map_checkpoints
from invariances.config.reading import merged
from invariances.utils.shipped_configs import find_shipped
from invariances.zoo import zoo
from invariances.zoo.store import PREFIX


@dataclass(frozen=True)
class ReleasedNetwork:
    """A network whose layers have released flows.

    Attributes:
        name: for people.
        base: config of all its layers.
        layer: config of a layer, with its name as `{}`.
        flow: name of the layer's flow in the zoo.
        layers: from input to output.
    """

    name: str
    base: str
    layer: str
    flow: str
    layers: tuple[str, ...]


ALEXNET = ReleasedNetwork(
    "AlexNet, animals (released)",
    "alexnet/base_eval",
    "alexnet/eval/{}",
    "cinn_alexnet_aae_{}",
    ("conv5", "fc6", "fc7", "fc8", "softmax"),
)
ANIMAL_FACES = ReleasedNetwork(
    "ResNet-101, animal faces (released)",
    "resnet/animalfaces/base_restricted",
    "resnet/animalfaces/train/{}",
    "cinn_resnet_animalfaces10_ae_{}",
    ("input", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc", "softmax"),
)
FLOWS = {
    network.flow.format(layer): (network, layer) for network in (ALEXNET, ANIMAL_FACES) for layer in network.layers
}


def config(flow: str) -> dict[str, Any]:
    """The config of a released flow, with the arguments that it was trained with.

    >>> config("cinn_alexnet_aae_fc6")["GreyboxModel"]["layer"]
    'classifier.2'
    """
    network, layer = FLOWS[flow]
    entry = zoo.entry(flow)
    shipped = merged([find_shipped(network.base), find_shipped(network.layer.format(layer))])
    return {**shipped, "model": entry.model, "Transformer": entry.arguments}


def missing(flow: str) -> list[str]:
    """The entries of the zoo that a released flow needs and that are not on this machine yet.

    >>> missing("cinn_alexnet_aae_fc6")
    ['cinn_alexnet_aae_fc6', 'bigae_animals']
    """
    return [name for name in (flow, *_named(config(flow))) if not zoo.path(name).is_file()]


def _named(config: Mapping[str, Any]) -> list[str]:
    """The entries of the zoo that a config names as checkpoints or weights."""
    found: list[str] = []

    def note(text: str, key: str) -> str:
        if text.startswith(PREFIX):
            found.append(text.removeprefix(PREFIX))
        return text

    for name, value in config.items():
        map_checkpoints(value, name, note)
    return found
