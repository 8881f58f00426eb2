"""Stand-ins of released checkpoints: weights under the older projects' names, in the format of torch before 1.6."""

from pathlib import Path

import torch

from invariances.flows.released import as_released
from invariances.models import Autoencoder, Classifier
from invariances.models.released_names import released_names


def write_autoencoder(path: Path, **arguments) -> None:
    """An `Autoencoder` with random weights, as the iin project saved it."""
    network = Autoencoder(**arguments)
    _write(path, network, len(network.decoder.blocks))


def write_classifier(path: Path, **arguments) -> None:
    """A `Classifier` with random weights."""
    _write(path, Classifier(**arguments))


def _write(path: Path, network: torch.nn.Module, n_decoder_blocks: int = 0) -> None:
    state = network.state_dict()
    for name in state:
        if name.endswith(".initialized"):
            state[name] = torch.ones_like(state[name])
    released = {"model": dict(as_released(state, released_names(n_decoder_blocks))), "loss": {}, "optimizer": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(released, path, _use_new_zipfile_serialization=False)
