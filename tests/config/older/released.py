"""Stand-ins of released checkpoints: weights under the older projects' names, in the format of torch before 1.6."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torchvision

from invariances.flows import ConditionalTransformer
from invariances.flows.released import CONDITIONAL, as_released
from invariances.models import Autoencoder, BigAE, Classifier, ResNetClassifier
from invariances.models.first_stages.bigae import NAMES
from invariances.models.released_names import released_names
from invariances.zoo import Zoo
from tests.models.first_stages.worlds import as_released_file

BIGAE = {"type": "resnet18", "width": 4}
FLOW = {"mid_channels": 16, "n_flows": 2}
RESNET = {"type": "resnet50"}


def write_autoencoder(path: Path, **arguments) -> None:
    """An `Autoencoder` with random weights, as the iin project saved it."""
    network = Autoencoder(**arguments)
    _write(path, dict(as_released(network.state_dict(), released_names(len(network.decoder.blocks)))))


def write_classifier(path: Path, **arguments) -> None:
    """A `Classifier` with random weights."""
    _write(path, dict(as_released(Classifier(**arguments).state_dict(), released_names())))


def write_zoo(root: Path, names: list[str]) -> Zoo:
    """Models of the zoo with random weights: small, but for the channels at the layers of the networks under study."""
    zoo = Zoo(root=root)
    zoo.entries = {name: _smaller(zoo.entry(name)) for name in names}
    for name, entry in zoo.entries.items():
        _write(zoo.path(name), _of_the_zoo(entry.model.rpartition(".")[2], entry.arguments))
    return zoo


def write_alexnet(torch_home: Path) -> None:
    """AlexNet with random weights, where torchvision looks for those that it has downloaded."""
    file = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    _write(torch_home / "hub" / "checkpoints" / file, torchvision.models.alexnet().state_dict(), whole=False)


def _smaller(entry):
    changes = {"BigAE": BIGAE, "ConditionalTransformer": FLOW, "ResNetClassifier": RESNET}
    return replace(entry, checksum=None, arguments=entry.arguments | changes[entry.model.rpartition(".")[2]])


def _of_the_zoo(kind: str, arguments: Mapping) -> dict:
    if kind == "BigAE":
        return as_released_file(BigAE(**arguments), NAMES)
    if kind == "ResNetClassifier":
        return ResNetClassifier(**arguments).state_dict()
    return dict(as_released(ConditionalTransformer(**arguments).state_dict(), CONDITIONAL))


def _write(path: Path, state: Mapping, whole: bool = True) -> None:
    marked = {name: torch.ones_like(t) if name.endswith("initialized") else t for name, t in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    released = {"model": marked, "loss": {}, "optimizer": {}} if whole else marked
    torch.save(released, path, _use_new_zipfile_serialization=False)
