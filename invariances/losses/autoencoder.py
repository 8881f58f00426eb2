"""The loss of the autoencoders: likelihood with a learned variance, KL, and a discriminator."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from invariances.losses.discriminator import PatchDiscriminator
from invariances.losses.perceptual import perceptual_distance
from invariances.models.frozen import Frozen

Logs = dict[str, Tensor]
Image = Float[Tensor, "batch channels height width"]
Scalar = Float[Tensor, ""]
PIXEL_LOSSES = {"l1": torch.abs, "l2": torch.square}


@runtime_checkable
class Posterior(Protocol):
    """What the loss asks of the encoder's distribution."""

    def kl(self) -> Float[Tensor, " batch"]:
        """Divergence from N(0, 1), summed over the code."""
        ...


class AutoencoderLoss(nn.Module):
    """Negative evidence bound with a learned variance, and from `disc_start` on an adversarial term.

        nll  = Σ_image (|x − x̂| + w·d(x, x̂)) / exp(s) + s          s: the learned log-variance `logvar`
        loss = nll + kl_weight·KL + λ·g                              g = −mean D(x̂)
        d    = ½ (mean softplus(−D(x)) + mean softplus(D(x̂)))       the discriminator's own loss

    Everything is a mean over the batch; the perceptual distance d of an image counts at each of its values.
    With `calibrate`, λ = ‖∇nll‖ / (‖∇g‖ + 1e-4), clamped to [0, 1e4], with gradients with respect to the
    decoder's last weight: both terms then pull equally hard.

    Args:
        disc_in_channels: channels of the images that the discriminator sees.
        disc_start: first step with the adversarial term; null: no discriminator at all.
        calibrate: weigh the adversarial term by the gradients; else by `discriminator_weight`.
        discriminator_weight: λ without `calibrate`.
        perceptual_weight: w; with 0 no perceptual network is built.
        logvar_init: first value of s.
        kl_weight: weight of the KL divergence.
        pixel_loss: "l1" for |x − x̂|, "l2" for (x − x̂)².
        perceptual: d: "lpips"; or {checkpoint: network, layers: [names]}, see `FeatureDistance`; or a module.
        spectral_norm: normalise the discriminator's weights in place of its activations.
        disc_num_layers: number of the discriminator's convolutions of stride 2.
        disc_width: channels after its first convolution.

    The log-variance `logvar` is learned with the autoencoder; the `discriminator`, or None, wants an
    optimiser of its own. The perceptual network is neither in `parameters()` nor in the state dict, and never
    in training mode. Every method gives the loss and, detached, its terms by name: for the logs, and to tell
    which one is not finite.

    Source: Esser, Rombach and Ommer 2020, A disentangling invertible interpretation network (released code);
    for the calibration Esser, Rombach and Ommer 2021, Taming transformers, eq. 7; for the learned variance
    Dai and Wipf 2019, Diagnosing and enhancing VAE models.
    """

    def __init__(
        self,
        disc_in_channels: int = 3,
        disc_start: int | None = None,
        calibrate: bool = True,
        discriminator_weight: float = 1.0,
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
            raise ValueError(f"pixel_loss is {pixel_loss!r}, but must be one of {', '.join(PIXEL_LOSSES)}")
        self.disc_start = disc_start
        self.calibrate = calibrate
        self.discriminator_weight = discriminator_weight
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
        """Tell whether the discriminator takes part at this step."""
        return self.disc_start is not None and step >= self.disc_start

    def negative_elbo(self, image: Image, reconstruction: Image, posterior: Posterior) -> tuple[Scalar, Logs]:
        """Compute nll + kl_weight·KL, without the discriminator: for validation, comparable at all steps."""
        nll, logs = self._nll(image, reconstruction)
        return self._add_kl(nll, posterior, logs)

    def generator_loss(
        self, image: Image, reconstruction: Image, posterior: Posterior, last_layer: Tensor, step: int
    ) -> tuple[Scalar, Logs]:
        """Compute the autoencoder's loss at a step, to be minimised over the autoencoder and `logvar`.

        Args:
            image: x in [-1, 1].
            reconstruction: x̂, of the same shape, computed with gradients.
            posterior: the distribution that the code was drawn from.
            last_layer: weight of the decoder's last convolution.
            step: number of optimiser steps done.

        Raises:
            ValueError: shapes differ, or there is no gradient to calibrate with.
        """
        nll, logs = self._nll(image, reconstruction)
        if self.discriminator is None or not self.adversarial(step):
            return self._add_kl(nll, posterior, logs)
        g_loss = _g_loss(self.discriminator, reconstruction)
        weight = torch.full_like(g_loss, self.discriminator_weight)
        if self.calibrate:
            nll, g_loss, weight = _calibrate(nll, g_loss, reconstruction, self.logvar, last_layer)
        logs |= {"g_loss": g_loss.detach(), "d_weight": weight}
        return self._add_kl(nll + weight * g_loss, posterior, logs)

    def discriminator_loss(self, image: Image, reconstruction: Image, step: int) -> tuple[Scalar, Logs]:
        """Compute the discriminator's loss at a step; 0 before `disc_start`, when the call can be saved.

        The reconstruction is detached: no gradient reaches the autoencoder.

        Raises:
            ValueError: there is no discriminator.
        """
        if self.discriminator is None:
            raise ValueError("there is no discriminator: disc_start is null")
        real, fake = self.discriminator(image), self.discriminator(reconstruction.detach())
        loss = 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean()) * self.adversarial(step)
        logs = {"d_loss": loss, "logits_real": real.mean(), "logits_fake": fake.mean()}
        return loss, {name: value.detach() for name, value in logs.items()}

    def _nll(self, image: Image, reconstruction: Image) -> tuple[Scalar, Logs]:
        """Compute the negative log-likelihood, and as `calibration` its slope in −s: 0 where s is best."""
        if image.shape != reconstruction.shape:
            raise ValueError(f"image {tuple(image.shape)} but reconstruction {tuple(reconstruction.shape)}")
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
        """Add the KL divergence, the last term, and log it with the sum."""
        kl = posterior.kl().mean()
        loss = loss + self.kl_weight * kl
        return loss, {**logs, "kl_loss": kl.detach(), "loss": loss.detach()}


def _g_loss(discriminator: nn.Module, reconstruction: Image) -> Scalar:
    """Compute −mean D(x̂), for which only x̂ learns."""
    with _constant(discriminator):
        return -discriminator(reconstruction).mean()


def _calibrate(
    nll: Scalar, g_loss: Scalar, reconstruction: Image, logvar: Scalar, last_layer: Tensor
) -> tuple[Scalar, Scalar, Scalar]:
    """Give both losses again, and the weight of the second that makes them pull equally at the last layer.

    The losses that come back have the same values and gradients, but these are already computed, up to the
    reconstruction: discriminator and perceptual network are differentiated once, not once for the weight and
    again for the step.
    """
    if not reconstruction.requires_grad:
        raise ValueError("calibrate needs a reconstruction with gradients; use negative_elbo for validation")
    nll, nll_gradient = _differentiated(nll, reconstruction, logvar)
    g_loss, g_gradient = _differentiated(g_loss, reconstruction)
    norms = [
        torch.autograd.grad(reconstruction, last_layer, gradient, retain_graph=True)[0].norm()
        for gradient in (nll_gradient, g_gradient)
    ]
    return nll, g_loss, (norms[0] / (norms[1] + 1e-4)).clamp(0.0, 1e4)


def _differentiated(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Replace a loss by its tangent at the inputs, of equal value and gradients; give the first of these."""
    gradients = torch.autograd.grad(loss, inputs)
    changes = [(x - x.detach()).mul(g).sum() for x, g in zip(inputs, gradients, strict=True)]
    return loss.detach() + sum(changes), gradients[0]


@contextmanager
def _constant(module: nn.Module) -> Iterator[None]:
    """Take a module's parameters out of the graphs that are built inside."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
