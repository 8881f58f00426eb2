"""The configs of a study: one for the autoencoder, and one for the flow of each layer and seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invariances.config.conditioning import conditioning
from invariances.config.reading import dump
from invariances.models import Layer
from invariances.studies.inputs.network_given import GivenNetwork
from invariances.studies.inputs.pictures_given import GivenImages
from invariances.studies.quality import N_DOWN, Quality, code_size, flow_steps, learning_rate, weight_decay
from invariances.studies.request import file_name

AUTOENCODER = "autoencoder"
ONLY_AT_THE_END = 1_000_000  # epochs between two evaluations
DIGITS = 6  # of the hash in the name of a run's folder
LEAST_CHECKPOINTS = 4  # of a training, so that a stop costs a quarter of it at most
Config = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """The config of one training.

    Attributes:
        name: of its file, unique in the study.
        config: of `edflow -b`.
        title: for people.
    """

    name: str
    config: Config
    title: str

    @property
    def digest(self) -> str:
        """A hash of the config: another config has another folder, so that nothing is mistaken for its result."""
        return hashlib.sha256(dump(self.config).encode()).hexdigest()[:DIGITS]

    def file(self, study: Path) -> Path:
        """Where the config is written."""
        return study / f"{self.name}.yaml"

    def folder(self, study: Path) -> Path:
        """The run folder."""
        return study / "runs" / f"{self.name}-{self.digest}"

    @property
    def n_steps(self) -> int:
        """Length of the training."""
        return int(self.config["num_steps"])

    def checkpoint(self, study: Path) -> Path:
        """The last checkpoint of the training."""
        return self.folder(study) / "train" / "checkpoints" / f"model-{self.n_steps}.ckpt"

    def metrics(self, study: Path) -> Path:
        """The numbers of the last evaluation."""
        return self.folder(study) / "train" / "eval" / f"step-{self.n_steps:08d}" / "metrics.json"

    def log(self, study: Path) -> Path:
        """The output of the training."""
        return study / "output" / f"{self.name}.txt"

    def text(self) -> str:
        """The file: its head says how to run it by hand."""
        return f"# {self.title}. Written by `invariances study`.\n#\n{dump(self.config)}"


def autoencoder_recipe(
    study: str, images: GivenImages, network: GivenNetwork, quality: Quality, rate: float | None = None
) -> Recipe:
    """The config of the autoencoder.

    Args:
        study: name of the study.
        images, network, quality: of the study.
        rate: learning rate, in place of the usual one.
    """
    size, channels = network.size, network.channels
    config = {
        "experiment_name": f"{study}_{AUTOENCODER}",
        "model": "invariances.models.Autoencoder",
        "Model": {
            "in_channels": channels,
            "in_size": size,
            "n_down": N_DOWN[size],
            "z_dim": code_size(size, channels),
            "width": quality.width,
        },
        "iterator": "invariances.iterators.AutoencoderIterator",
        "loss": "invariances.losses.AutoencoderLoss",
        "Loss": {"perceptual_weight": 0, "disc_start": None, "logvar_init": -2, "kl_weight": 2},
        "evaluation": {
            "reconstruction": {"n_images": quality.n_judged},
            "grid": {"n_images": 8, "n_samples": 4},
        },
        **_schedule(quality, quality.autoencoder_steps, rate or learning_rate(size)),
    }
    return Recipe(AUTOENCODER, config | _data(images, network, quality), "The autoencoder, whose codes the flows model")


def flow_recipe(
    study: str,
    images: GivenImages,
    network: GivenNetwork,
    layer: Layer,
    autoencoder: Mapping[str, Any],
    z_dim: int,
    quality: Quality,
    seed: int = 0,
    precision: str = "float32",
) -> Recipe:
    """The config of the flow of a layer.

    Args:
        study: name of the study.
        images, network, quality: of the study.
        layer: under study.
        autoencoder: the section `AutoencoderModel`.
        z_dim: channels of its codes.
        seed: of the training.
        precision: of the representations in the cache.
    """
    tokens = {} if layer.tokens is None else {"tokens": layer.tokens}
    n_images = min(images.n_train, quality.n_images)
    steps = flow_steps(quality, n_images, network.size)
    config = {
        "experiment_name": f"{study}_{file_name(layer.name)}",
        "model": "invariances.flows.ConditionalTransformer",
        "Transformer": {
            "in_channels": z_dim,
            "mid_channels": quality.mid_channels,
            "hidden_depth": 2,
            "n_flows": quality.n_flows,
            **conditioning(layer.shape),
        },
        "iterator": "invariances.iterators.CINNIterator",
        "baseline_dim": 256,
        "GreyboxModel": {**network.section, "layer": layer.name, **tokens},
        "AutoencoderModel": dict(autoencoder),
        "evaluation": {
            "attributes": {"n_images": quality.n_judged},
            "faithfulness": {"n_images": quality.n_judged},
            "grid": {"n_images": 8, "n_samples": 6},
        },
        **_schedule(quality, steps, 1.0e-3),
        "weight_decay": weight_decay(quality.flow_steps, quality.batch_size, n_images),
        "seed": seed,
        "cache": {"representations": True, "precision": precision},
    }
    config |= _data(images, network, quality)
    config["notes"]["network"] = network.identity
    name = file_name(layer.name) + (f"-seed{seed}" if seed else "")
    title = f"What layer {layer.name} is invariant to" + (f", training {seed + 1}" if seed else "")
    return Recipe(name, config, title)


def _schedule(quality: Quality, steps: int, rate: float) -> Config:
    return {
        "batch_size": quality.batch_size,
        "learning_rate": rate,
        "num_steps": steps,
        "decay_start": steps // 2,
        "log_freq": max(1, min(50, steps // 20)),
        "ckpt_freq": max(1, min(500, steps // LEAST_CHECKPOINTS)),
        "keep_checkpoints": 2,
        "trainer": {"check_val_every_n_epoch": ONLY_AT_THE_END},
    }


def _data(images: GivenImages, network: GivenNetwork, quality: Quality) -> Config:
    """The data sets, and in `notes` what else makes another config of it: other numbers of images, another network."""
    size, channels = network.size, network.channels
    return {
        "notes": {"images": [images.n_train, images.n_validation]},
        "datasets": {
            "train": images.spec("train", size, channels, quality.n_images),
            "validation": images.spec("validation", size, channels, max(1000, quality.n_judged)),
        }
    }
