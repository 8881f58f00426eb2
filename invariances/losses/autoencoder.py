"""The loss of the autoencoders: likelihood with a learned variance, KL divergence and an adversarial term."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from invariances.errors import InvalidInput
from invariances.losses.discriminator import PatchDiscriminator
from invariances.losses.perceptual import perceptual_distance
from invariances.models.frozen import Frozen

Logs = dict[str, Tensor]
Image = Float[Tensor, "batch channels height width"]
Scalar = Float[Tensor, ""]
PIXEL_LOSSES = {"l1": torch.abs, "l2": torch.square}


@runtime_checkable
class Posterior(Protocol):
    """The interface of the encoder's distribution that the loss uses, see `DiagonalGaussian`."""

    def kl(self) -> Float[Tensor, " batch"]:
        """KL divergence from N(0, 1) in nats, summed over the code, (B,)."""
        ...


class AutoencoderLoss(nn.Module):
    """Negative evidence lower bound (ELBO) with a learned variance, plus an adversarial term from `disc_start` on.

        nll    = Σ_image (|x − x̂| + w·d(x, x̂)) / exp(s) + s          s: the learned log-variance `logvar`
        loss   = nll + kl_weight·KL + λ·g                              g = −mean D(x̂)
        d_loss = ½ (mean softplus(−D(x)) + mean softplus(D(x̂)))       the discriminator's own loss

    All terms are means over the batch; Σ_image sums over all values of an image, and the perceptual distance
    d(x, x̂), (B,), is added to each of them. With `calibrate`, λ = ‖∇nll‖ / (‖∇g‖ + 1e-4), clamped to [0, 1e4],
    where the gradients are those of the decoder's last weight: both terms then have equal gradient norms.

    Args:
        disc_in_channels: channels of the images that the discriminator sees.
        disc_start: first step with the adversarial term; None: no discriminator.
        calibrate: weight the adversarial term by the ratio of gradient norms; else by `discriminator_weight`.
        discriminator_weight: λ without `calibrate`.
        disc_factor: by which λ is multiplied, with and without `calibrate`.
        perceptual_weight: w; with 0 no perceptual network is built.
        logvar_init: initial value of s.
        kl_weight: weight of the KL divergence.
        pixel_loss: "l1" for |x − x̂|, "l2" for (x − x̂)².
        perceptual: d: "lpips"; or {checkpoint: network, layers: [names]}, see `FeatureDistance`; or a module.
        spectral_norm: normalise the discriminator's weights, too, see `PatchDiscriminator`.
        disc_num_layers: number of the discriminator's convolutions of stride 2.
        disc_width: channels after its first convolution.

    The log-variance `logvar` is to be optimised with the autoencoder, the `discriminator` (or None) by an optimiser
    of its own. The perceptual network is `Frozen`. Every method returns the loss, a scalar, and its detached terms
    by name, for the logs.

    Raises:
        InvalidInput: pixel_loss or perceptual have another value.

    Source: Esser, Rombach and Ommer 2020, A disentangling invertible interpretation network (released code);
    for the calibration Esser, Rombach and Ommer 2021, Taming transformers, eq. 7; for the learned variance
    Dai and Wipf 2019, Diagnosing and enhancing VAE models.

    >>> from invariances.models import Autoencoder
    >>> autoencoder = Autoencoder(in_channels=1, in_size=32, n_down=2, z_dim=8, norm="bn", width=8)
    >>> criterion = AutoencoderLoss(disc_in_channels=1, disc_start=0, perceptual_weight=0.0, disc_width=8)
    >>> image = torch.rand(2, 1, 32, 32) * 2 - 1
    >>> reconstruction, posterior = autoencoder(image)
    >>> loss, logs = criterion.generator_loss(image, reconstruction, posterior, autoencoder.last_layer, step=0)
    >>> loss.shape, "kl_loss" in logs, "d_weight" in logs
    (torch.Size([]), True, True)
    """

    def __init__(
        self,
        disc_in_channels: int = 3,
        disc_start: int | None = None,
        calibrate: bool = True,
        discriminator_weight: float = 1.0,
        disc_factor: float = 1.0,
        perceptual_weight: float = 1.0,
        logvar_init: float = 0.0,
        kl_weight: float = 1.0,
        pixel_loss: Literal["l1", "l2"] = "l1",
        perceptual: str | Mapping[str, Any] | nn.Module = "lpips",
        spectral_norm: bool = False,
        disc_num_layers: int = 3,
        disc_width: int = 64,
    ) -> None:
        super().__init__()
        if pixel_loss not in PIXEL_LOSSES:
            raise InvalidInput(f"pixel_loss is {pixel_loss!r}; expected one of {', '.join(PIXEL_LOSSES)}")
        self.disc_start = disc_start
        self.calibrate = calibrate
        self.discriminator_weight = discriminator_weight
        self.disc_factor = disc_factor
        self.perceptual_weight = perceptual_weight
        self.kl_weight = kl_weight
        self.pixel_loss = pixel_loss
        self.logvar = nn.Parameter(torch.tensor(float(logvar_init)))
        self.perceptual = Frozen(perceptual_distance(perceptual)) if perceptual_weight else None
        self.discriminator: PatchDiscriminator | None = None
        if disc_start is not None:
            self.discriminator = PatchDiscriminator(
                disc_in_channels, disc_num_layers, disc_width, spectral_norm
            )

    def adversarial(self, step: int) -> bool:
        """Whether the adversarial term is used at this step, a number of optimiser steps."""
        return self.disc_start is not None and step >= self.disc_start

    def negative_elbo(self, image: Image, reconstruction: Image, posterior: Posterior) -> tuple[Scalar, Logs]:
        """Compute nll + kl_weight·KL, the loss without adversarial term; for validation, comparable across steps."""
        nll, logs = self._nll(image, reconstruction)
        return self._add_kl(nll, posterior, logs)

    def generator_loss(
        self, image: Image, reconstruction: Image, posterior: Posterior, last_layer: Tensor, step: int
    ) -> tuple[Scalar, Logs]:
        """Compute the autoencoder's loss, to be minimised over the autoencoder and `logvar`.

        Args:
            image: x, (B, C, H, W) in [-1, 1].
            reconstruction: x̂, of the same shape and range, with gradients.
            posterior: the distribution from which the code was sampled.
            last_layer: weight of the decoder's last convolution, see `Autoencoder.last_layer`.
            step: number of completed optimiser steps.

        Raises:
            InvalidInput: shapes differ, or `calibrate` and a reconstruction without gradients.
        """
        nll, logs = self._nll(image, reconstruction)
        if self.discriminator is None or not self.adversarial(step):
            return self._add_kl(nll, posterior, logs)
        g_loss = _g_loss(self.discriminator, reconstruction)
        weight = torch.full_like(g_loss, self.discriminator_weight)
        if self.calibrate:
            nll, g_loss, weight = _calibrate(nll, g_loss, reconstruction, self.logvar, last_layer)
        weight = weight * self.disc_factor
        logs |= {"g_loss": g_loss.detach(), "d_weight": weight}
        return self._add_kl(nll + weight * g_loss, posterior, logs)

    def discriminator_loss(self, image: Image, reconstruction: Image, step: int) -> tuple[Scalar, Logs]:
        """Compute the discriminator's loss, 0 before `disc_start`; no gradient reaches the autoencoder.

        Args:
            image, reconstruction, step: see `generator_loss`.

        Raises:
            InvalidInput: there is no discriminator.
        """
        if self.discriminator is None:
            raise InvalidInput("there is no discriminator, since disc_start is null; expected a step")
        real, fake = self.discriminator(image), self.discriminator(reconstruction.detach())
        loss = 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean()) * self.adversarial(step)
        logs = {"d_loss": loss, "logits_real": real.mean(), "logits_fake": fake.mean()}
        return loss, {name: value.detach() for name, value in logs.items()}

    def _nll(self, image: Image, reconstruction: Image) -> tuple[Scalar, Logs]:
        """Compute the negative log-likelihood; the logged `calibration` is its derivative by −s, 0 at the optimum."""
        if image.shape != reconstruction.shape:
            found, expected = tuple(reconstruction.shape), tuple(image.shape)
            raise InvalidInput(f"reconstruction has shape {found}; expected that of image, {expected}")
        error = PIXEL_LOSSES[self.pixel_loss](image - reconstruction).flatten(1).mean(1)  # (B,)
        terms = {"pixel_loss": error}
        if self.perceptual is not None:
            terms["perceptual_loss"] = self.perceptual(image, reconstruction)
            error = error + self.perceptual_weight * terms["perceptual_loss"]
        scaled, n_values = error / self.logvar.exp(), image[0].numel()
        nll = n_values * (scaled + self.logvar).mean()
        terms |= {"rec_loss": error, "nll_loss": nll, "calibration": n_values * (scaled - 1)}
        logs = {name: term.detach().mean() for name, term in terms.items()}
        return nll, {**logs, "logvar": self.logvar.detach().clone()}

    def _add_kl(self, loss: Scalar, posterior: Posterior, logs: Logs) -> tuple[Scalar, Logs]:
        """Add the KL divergence; log it and the sum."""
        kl = posterior.kl().mean()
        loss = loss + self.kl_weight * kl
        return loss, {**logs, "kl_loss": kl.detach(), "loss": loss.detach()}


def _g_loss(discriminator: nn.Module, reconstruction: Image) -> Scalar:
    """Compute −mean D(x̂), with gradients for x̂ alone."""
    with _without_gradients(discriminator):
        return -discriminator(reconstruction).mean()


def _calibrate(
    nll: Scalar, g_loss: Scalar, reconstruction: Image, logvar: Scalar, last_layer: Tensor
) -> tuple[Scalar, Scalar, Scalar]:
    """Compute the weight of the second loss that gives both equal gradient norms at the last layer.

    Returns:
        Both losses and the weight. The losses have the same values and gradients as before, but their gradients up
        to the reconstruction are already computed: discriminator and perceptual network are differentiated once
        instead of twice, for the weight and for the optimiser step.
    """
    if not reconstruction.requires_grad:
        raise InvalidInput("calibrate: expected a reconstruction with gradients; use negative_elbo for validation")
    nll, nll_gradient = _linearized(nll, reconstruction, logvar)
    g_loss, g_gradient = _linearized(g_loss, reconstruction)
    norms = [
        torch.autograd.grad(reconstruction, last_layer, gradient, retain_graph=True)[0].norm()
        for gradient in (nll_gradient, g_gradient)
    ]
    return nll, g_loss, (norms[0] / (norms[1] + 1e-4)).clamp(0.0, 1e4)


def _linearized(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Linearise a loss in its inputs, which keeps value and gradients; also returns the gradient of the first one."""
    gradients = torch.autograd.grad(loss, inputs)
    changes = [(x - x.detach()).mul(g).sum() for x, g in zip(inputs, gradients, strict=True)]
    return loss.detach() + sum(changes), gradients[0]


@contextmanager
def _without_gradients(module: nn.Module) -> Iterator[None]:
    """Within the context, treat a module's parameters as constants."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
