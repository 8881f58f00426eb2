"""The models that the demo shows, in memory: loaded once for all visitors of a server, and never changed."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st
import torch
from torch import Tensor

from invariances.config.building import build_dataset, build_iterator
from invariances.config.nodes import map_checkpoints
from invariances.config.parts import load_network
from invariances.config.reading import read_file
from invariances.config.resolving import resolve_checkpoints
from invariances.demo import released_models
from invariances.demo.sources import TASK, Source
from invariances.demo.uploads import photographs
from invariances.errors import InvalidInput
from invariances.training.identity import require_same_networks
from invariances.training.run import Run, resolve_checkpoint
from invariances.utils import checkpoints, model_folder
from invariances.zoo import zoo
from invariances.zoo.store import PREFIX

MOST_LOADED = 12  # models in memory; the one that was not used for longest goes first


@dataclass(frozen=True)
class Loaded:
    """A model in memory, shared by all visitors of the server.

    Attributes:
        task: the training task, with all its networks, in evaluation mode.
        data: the data set of its validation split, or photographs if it cannot be opened.
        problem: why not.
        classifier: images -> logits; None if there is none.
        classes: names of the classes, if they are known.
        lock: held while the networks run, as a split network changes while it does.
    """

    task: Any
    data: Any
    problem: str
    classifier: Any
    classes: Any
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def shape(self) -> tuple[int, int]:
        """Channels of the images, and their side in pixels."""
        return _shape(self.task)

    def example(self, index: int) -> Tensor:
        """An image of the data set, (1, C, H, W) in [-1, 1].

        Raises:
            InvalidInput: it has no images.
        """
        example = self.data[index % len(self.data)]
        image = example.get("image", example.get("example1"))
        if image is None:
            raise InvalidInput(f"the examples have {', '.join(example)}; expected `image`; upload a picture instead")
        return image[None]

    @property
    def n_examples(self) -> int:
        """Number of examples, at least 1."""
        return max(1, len(self.data))

    def class_name(self, number: int) -> str:
        """Name of a class, or its number."""
        with suppress(LookupError, TypeError):
            return str(self.classes[number])  # whatever a user's data set has
        return str(number)


@st.cache_resource(max_entries=MOST_LOADED, show_spinner="Loading the model …")
def load(source: Source) -> Loaded:
    """Load the networks of a source.

    Raises:
        UserError: a file is missing or does not fit, or a network was exchanged after the training.
    """
    config, checkpoint = _config_and_weights(source)
    task = build_iterator(config, num_steps=1)
    require_same_networks(checkpoints.restore(task, checkpoint), task, checkpoint)
    task.eval().requires_grad_(False)
    data, problem = _examples(config, *_shape(task))
    classes = (config.get("notes") or {}).get("classes", getattr(data, "classes", None))
    return Loaded(task, data, problem, _classifier(config, task), classes)


def _config_and_weights(source: Source) -> tuple[dict[str, Any], Path]:
    if source.released:
        config, path = released_models.config(source.name), zoo.find(f"{PREFIX}{source.name}")
        return resolve_checkpoints(config, resolve_checkpoint), path
    if model_folder.is_one(source.path):
        return _in_folder(read_file(source.path / TASK), source.path.parent), source.path
    run = Run.open(source.path)
    return run.config(), run.last_checkpoint()


def _in_folder(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A config whose checkpoints, and file of examples, are named relative to a folder."""
    placed = {
        name: map_checkpoints(value, name, lambda text, key: str(folder / text)) for name, value in config.items()
    }
    examples = config["datasets"]["validation"]
    if isinstance(examples, Mapping) and "path" in examples:
        placed["datasets"] = {"validation": {**examples, "path": str(folder / examples["path"])}}
    return placed


def _shape(task: Any) -> tuple[int, int]:
    """Channels and side of the images of a task's autoencoder."""
    autoencoder = (getattr(task, "autoencoder", None) or task.first_stage).network
    if hasattr(autoencoder, "in_size"):
        return getattr(autoencoder, "in_channels", 3), autoencoder.in_size
    with torch.no_grad():
        image = autoencoder.decode(torch.zeros(1, autoencoder.z_dim, 1, 1))
    return image.shape[1], image.shape[2]


def _examples(config: Mapping[str, Any], channels: int, size: int) -> tuple[Any, str]:
    """The validation images and ""; if they cannot be opened, photographs that are on every machine, and the reason."""
    try:
        return build_dataset(config, "validation"), ""
    except Exception as error:  # such as a data set that is not on this machine
        return photographs(channels, size), (str(error) or type(error).__name__).splitlines()[0]


def _classifier(config: Mapping[str, Any], task: Any) -> Any:
    """The network under study; for a disentangling INN, the classifier that judges its swaps."""
    if hasattr(task, "greybox"):
        return task.greybox.network
    spec = (config.get("evaluation") or {}).get("swaps") or {}
    return load_network(**spec["classifier"]) if spec.get("classifier") else None
