"""The models that the demo shows: those that ship with the package, and the runs of conditional and disentangling INNs.

A source is found from configs alone; its networks are loaded when a page asks for them, once per server.
"""

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import streamlit as st
import torch
from torch import Tensor

from invariances.config.building import build_dataset, build_iterator
from invariances.config.nodes import map_checkpoints
from invariances.config.parts import load_network
from invariances.config.reading import read_file
from invariances.errors import InvalidInput, UserError
from invariances.training.identity import require_same_networks
from invariances.training.run import ROOT, Run
from invariances.utils import checkpoints, model_folder

Kind = Literal["cinn", "factors"]

EMBEDDED = Path(__file__).parent / "embedded"
TASK = "task.yaml"  # in the folder of an embedded model: what of a run's config builds its task
KINDS: dict[str, Kind] = {"CINNIterator": "cinn", "DIINIterator": "factors"}
NETWORK = "coloured digits (built in)"
MOST_LOADED = 12  # models in memory; the one that was not used for longest goes first
CONFIG_LIFETIME = 30  # seconds until new runs are looked for


@dataclass(frozen=True)
class Source:
    """A trained model that can be shown.

    Attributes:
        path: its run folder; for a model that ships with the package, the model's folder.
        kind: what can be done with it.
        network: name of what is studied, shared by the models of its layers.
        layer: of the network; of a disentangling INN, the name of its experiment.
        name: unique among all sources, and short.
    """

    path: Path
    kind: Kind
    network: str
    layer: str
    name: str


@dataclass(frozen=True)
class Loaded:
    """A model in memory, shared by all visitors of the server.

    Attributes:
        task: the training task, with all its networks, in evaluation mode.
        data: the data set of its validation split; None if it cannot be opened.
        problem: why not.
        classifier: images -> logits; None if there is none.
        lock: held while the networks run, as a split network changes while it does.
    """

    task: Any
    data: Any
    problem: str
    classifier: Any
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def shape(self) -> tuple[int, int]:
        """Channels of the images, and their side in pixels."""
        autoencoder = (getattr(self.task, "autoencoder", None) or self.task.first_stage).network
        if hasattr(autoencoder, "in_size"):
            return getattr(autoencoder, "in_channels", 3), autoencoder.in_size
        with torch.no_grad():
            image = autoencoder.decode(torch.zeros(1, autoencoder.z_dim, 1, 1))
        return image.shape[1], image.shape[2]

    def example(self, index: int) -> Tensor:
        """An image of the data set, (1, C, H, W) in [-1, 1].

        Raises:
            InvalidInput: there is no data set, or it has no images.
        """
        if self.data is None:
            raise InvalidInput(f"the examples cannot be opened ({self.problem}); upload a picture instead")
        example = self.data[index % len(self.data)]
        image = example.get("image", example.get("example1"))
        if image is None:
            raise InvalidInput(f"the examples have {', '.join(example)}; expected `image`; upload a picture instead")
        return image[None]

    @property
    def n_examples(self) -> int:
        """Number of examples, at least 1."""
        return max(1, len(self.data)) if self.data is not None else 1

    def class_name(self, number: int) -> str:
        """Name of a class, or its number."""
        names = getattr(self.data, "classes", None)
        with suppress(LookupError, TypeError):
            return str(names[number])  # type: ignore[index]  # whatever a user's data set has
        return str(number)


@st.cache_data(ttl=CONFIG_LIFETIME, show_spinner=False)
def find_sources(runs: tuple[str, ...] = (), root: str = str(ROOT)) -> list[Source]:
    """The given runs; without any, the models of the package and all runs of a folder, newest first.

    Args:
        runs: paths, or latest:EXPERIMENT.
        root: the folder.

    Raises:
        UserError: a given run does not exist, or is none of a conditional or disentangling INN.
    """
    if not runs:
        return [*_embedded(), *_of_runs(Run.all(root))]
    found = list(_of_runs(map(Run.find, runs)))
    if len(found) < len(runs):
        raise UserError(f"{', '.join(runs)}: not all are runs of conditional or disentangling INNs with a checkpoint")
    return found


def _embedded() -> Iterable[Source]:
    for folder in sorted(EMBEDDED.glob("*/")):
        if (folder / TASK).exists():
            config = read_file(folder / TASK)
            yield Source(folder, KINDS[_task(config)], NETWORK, _layer(config), f"built-in {_layer(config)}")


def _of_runs(runs: Iterable[Run]) -> Iterable[Source]:
    for run in runs:
        with suppress(UserError):  # a config that is broken or was removed: other runs are shown
            config = run.config()
            if (kind := KINDS.get(_task(config))) and run.has_checkpoints:
                yield Source(run.path, kind, _network(config), _layer(config), run.path.name)


def _task(config: Mapping[str, Any]) -> str:
    return str(config.get("iterator")).rpartition(".")[2]


def _layer(config: Mapping[str, Any]) -> str:
    greybox = config.get("GreyboxModel") or {}
    return str(greybox.get("layer") or config.get("experiment_name"))


def _network(config: Mapping[str, Any]) -> str:
    """The network under study: the run of its checkpoint, or its name in a library."""
    node = config.get("GreyboxModel") or config.get("first_stage") or {}
    path = Path(str(node.get("checkpoint", "")))
    return path.parents[2].name if len(path.parts) > 3 else str(node.get("model") or path.stem)


@st.cache_resource(max_entries=MOST_LOADED, show_spinner="Loading the model …")
def load(source: Source) -> Loaded:
    """Load the networks of a source.

    Raises:
        UserError: a file is missing or does not fit, or a network was exchanged after the training.
    """
    if model_folder.is_one(source.path):
        checkpoint = source.path
        config = _in_folder(read_file(checkpoint / TASK), checkpoint.parent)
    else:
        run = Run.open(source.path)
        checkpoint, config = run.last_checkpoint(), run.config()
    task = build_iterator(config, num_steps=1)
    require_same_networks(checkpoints.restore(task, checkpoint), task, checkpoint)
    data, problem = _examples(config)
    return Loaded(task.eval().requires_grad_(False), data, problem, _classifier(config, task))


def _in_folder(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A config whose checkpoints are named relative to a folder."""
    placed = partial(map_checkpoints, function=lambda text, key: str(folder / text))
    return {name: placed(value, name) for name, value in config.items()}


def _examples(config: Mapping[str, Any]) -> tuple[Any, str]:
    try:
        return build_dataset(config, "validation"), ""
    except Exception as error:  # such as a data set that is not on this machine: uploads work without it
        return None, (str(error) or type(error).__name__).splitlines()[0]


def _classifier(config: Mapping[str, Any], task: Any) -> Any:
    """The network under study; for a disentangling INN, the classifier that judges its swaps."""
    if hasattr(task, "greybox"):
        return task.greybox.network
    spec = (config.get("evaluation") or {}).get("swaps") or {}
    return load_network(**spec["classifier"]) if spec.get("classifier") else None
