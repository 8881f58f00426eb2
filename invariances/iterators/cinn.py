"""Training a conditional INN: what an autoencoder's code holds beyond a layer's representation."""

from typing import Any

import torch
from torch import Tensor, nn

from invariances.iterators.base import Iterator
from invariances.losses import flow_nll
from invariances.models.frozen import Frozen


class CINNIterator(Iterator):
    """Maximum likelihood of codes z̄ ~ E(x) given representations z = Φ(x) (ECCV 2020, eq. 5).

    Args:
        model: `ConditionalTransformer`, (code, z) -> (v, log-determinant).
        greybox: the network under study cut at a layer; frozen.
        autoencoder: the first stage; frozen.
        learning_rate, num_steps, decay_start, seed: see `Iterator`.

    Raises:
        ValueError: the flow's arguments do not fit the layer or the autoencoder.
    """

    def __init__(
        self,
        model: nn.Module,
        greybox: nn.Module,
        autoencoder: nn.Module,
        learning_rate: float,
        num_steps: int | None = None,
        decay_start: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, learning_rate, num_steps, decay_start, seed)
        _check_sizes(model, greybox, autoencoder)
        self.greybox, self.autoencoder = Frozen(greybox), Frozen(autoencoder)

    def terms(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Negative log-likelihood of a batch, without its constant."""
        with torch.no_grad():
            z = self.greybox.network.encode(batch["image"])
            code = self.autoencoder.network.encode(batch["image"]).sample()
        v, logdet = self.model(code, z)
        return {"loss": flow_nll(v, logdet), "half_v_squared": v.square().mean() / 2, "logdet": logdet.mean()}

    def views(self, images: Tensor, n_samples: int, generator: torch.Generator) -> list[tuple[str, Tensor]]:
        """Images, their reconstructions, and samples that share their representation."""
        greybox, autoencoder = self.greybox.network, self.autoencoder.network
        codes = self.model.sample(greybox.encode(images), n_samples, generator)  # (B, n, C, 1, 1)
        samples = [(f"sample {i + 1}", autoencoder.decode(codes[:, i])) for i in range(n_samples)]
        reconstructions = autoencoder.decode(autoencoder.encode(images).mode())
        return [("input", images), ("reconstruction", reconstructions), *samples]

    def facts(self) -> dict[str, Any]:
        """The layer under study and its place in the network."""
        return {"layer": self.greybox.network.layer, "depth": self.greybox.network.depth}


def _check_sizes(model: Any, greybox: Any, autoencoder: Any) -> None:
    channels, height, width = greybox.shape
    if model.condition != (channels, height) or height != width:
        raise ValueError(
            f"Transformer/conditioning_in_channels is {model.condition[0]} and Transformer/conditioning_spatial_size "
            f"{model.condition[1]}, but GreyboxModel/layer {greybox.layer} has {channels} channels on a grid of "
            f"{height} × {width}; write {channels} and {height}"
        )
    if model.in_channels != autoencoder.z_dim:
        raise ValueError(
            f"Transformer/in_channels is {model.in_channels}, but the codes of AutoencoderModel have "
            f"{autoencoder.z_dim} channels; write {autoencoder.z_dim}"
        )
