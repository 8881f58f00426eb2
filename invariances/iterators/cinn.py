"""Training a conditional INN, a flow between codes and N(0, 1) given the representation of a layer."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from invariances.errors import InvalidInput
from invariances.iterators.base import Iterator
from invariances.losses import flow_nll
from invariances.models.distributions import posterior_of, posterior_tensors
from invariances.models.first_stages.codes import gaussian
from invariances.models.frozen import Frozen
from invariances.models.mlp import MLP
from invariances.models.studied.layout import side_of


class CINNIterator(Iterator):
    """Maximum likelihood of codes z̄ ~ E(x) given representations z = Φ(x) (ECCV 2020, eq. 5).

    A baseline can be trained at the same time, for comparison: an MLP that predicts the code from z by least squares,
    that is, the mean of p(z̄ | z). It has no weights in common with the flow and does not change its training.

    Args:
        model: `ConditionalTransformer`, (code, z) -> (v, log-determinant).
        greybox: the network under study split at a layer; frozen.
        autoencoder: the first stage, with codes (B, z_dim, 1, 1), see `VectorCodes`; frozen.
        baseline_dim: width of the baseline's hidden layers; null for no baseline.
        baseline_depth: number of its hidden layers.
        **schedule: learning_rate, num_steps, decay_start, seed, weight_decay; see `Iterator`.

    Attributes:
        baseline: `MLP`, z -> code, or None.

    Raises:
        InvalidInput: the flow's arguments do not fit the layer or the autoencoder.
    """

    greybox: Frozen[Any]
    autoencoder: Frozen[Any]
    baseline: nn.Module | None

    def __init__(
        self,
        model: nn.Module,
        greybox: nn.Module,
        autoencoder: nn.Module,
        baseline_dim: int | None = None,
        baseline_depth: int = 2,
        **schedule: Any,
    ) -> None:
        super().__init__(model, **schedule)
        _check_sizes(model, greybox, autoencoder)
        self.greybox, self.autoencoder = Frozen(greybox), Frozen(autoencoder)
        self.baseline = None
        if baseline_dim is not None:
            self.baseline = _baseline(greybox, autoencoder, baseline_dim, baseline_depth)

    def configure_optimizers(self) -> Any:
        """One Adam over the weights of flow and baseline, which updates each weight independently."""
        return self.adam(self.parameters())

    def undecayed(self) -> Iterable[nn.Parameter]:
        """Those of the flow's embedder: with less of it, a flow that is kept from learning by heart also misses z."""
        embedder = getattr(self.model, "embedder", None)
        return embedder.parameters() if isinstance(embedder, nn.Module) else ()

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients of flow and baseline separately, so that neither affects the other."""
        clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
        for network in (self.model, self.baseline):
            if gradient_clip_val and network is not None:
                clip(network.parameters(), gradient_clip_val)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        """Return the sum of the losses of flow and baseline, which have no weights in common."""
        terms = self.terms(batch)
        self.report(terms, "train")
        return terms["loss"] + terms.get("baseline_loss", 0)

    def encoders(self) -> dict[str, Callable[[Tensor], dict[str, Tensor]]]:
        """The representation of the network under study, and the posterior of the autoencoder."""
        return {
            "greybox": lambda images: {"z": self.greybox.network.encode(images)},
            "autoencoder": lambda images: posterior_tensors(gaussian(self.autoencoder.network.encode(images))),
        }

    def terms(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Negative log-likelihood of a batch, without its constant, and the baseline's mean squared error."""
        encoded = self.encoded(batch)
        z, code = encoded["z"], posterior_of(encoded).sample()
        v, logdet = self.model(code, z)
        terms = {"loss": flow_nll(v, logdet), "half_v_squared": v.square().mean() / 2, "logdet": logdet.mean()}
        if self.baseline is not None:
            terms["baseline_loss"] = functional.mse_loss(self.baseline(z), code)
        return terms

    def sample_like(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One sample D(t⁻¹(v|z)), v ~ N(0, 1), for the z = Φ(x) of each image, (B, C, H, W) in [-1, 1]."""
        codes = self.model.sample(self.greybox.network.encode(images), 1, generator)
        return self.autoencoder.network.decode(codes[:, 0])

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images of the codes' modes, (B, C, H, W) in [-1, 1]."""
        autoencoder = self.autoencoder.network
        return autoencoder.decode(gaussian(autoencoder.encode(images)).mode())

    def views(self, images: Tensor, n_samples: int, generator: torch.Generator) -> list[tuple[str, Tensor]]:
        """Images, their reconstructions, samples with the same representation, and the samples' mean and spread.

        Each is (B, C, H, W) in [-1, 1]. `spread` is the standard deviation σ of the samples, as 2σ − 1: black where
        they agree, white where half of the values are -1 and half are 1.
        """
        greybox, autoencoder = self.greybox.network, self.autoencoder.network
        codes = self.model.sample(greybox.encode(images), n_samples, generator)  # (B, n, C, 1, 1)
        modes = gaussian(autoencoder.encode(images)).mode()
        decoded = autoencoder.decode(torch.cat([modes, codes.flatten(0, 1)]))  # one batch
        reconstructions, samples = decoded.split([len(images), len(images) * n_samples])
        samples = samples.unflatten(0, (len(images), n_samples))
        shown = [(f"sample {i + 1}", samples[:, i]) for i in range(n_samples)]
        moments = [("mean", samples.mean(dim=1)), ("spread", 2 * samples.std(dim=1, correction=0) - 1)]
        return [("input", images), ("reconstruction", reconstructions), *shown, *moments]

    def facts(self) -> dict[str, Any]:
        """The layer under study, its depth in the network, and what to know about the frozen networks."""
        greybox = self.greybox.network
        cautions = [text for part in (greybox, self.autoencoder.network) for text in getattr(part, "cautions", ())]
        return {"layer": greybox.layer, "depth": greybox.depth, "cautions": cautions}


def _baseline(greybox: Any, autoencoder: Any, hidden_dim: int, hidden_depth: int) -> MLP:
    return MLP(math.prod(greybox.shape), autoencoder.z_dim, hidden_dim, hidden_depth)


def _check_sizes(model: Any, greybox: Any, autoencoder: Any) -> None:
    channels, side = greybox.shape[0], side_of(greybox.shape)
    if model.condition != (channels, side):
        raise InvalidInput(
            f"Transformer/conditioning_in_channels is {model.condition[0]} and Transformer/conditioning_spatial_size "
            f"{model.condition[1]}, but GreyboxModel/layer {greybox.layer} has {channels} channels on a grid of "
            f"{side} × {side}; use {channels} and {side}"
        )
    if model.in_channels != autoencoder.z_dim:
        raise InvalidInput(
            f"Transformer/in_channels is {model.in_channels}, but the codes of AutoencoderModel have "
            f"{autoencoder.z_dim} channels; use {autoencoder.z_dim}"
        )
