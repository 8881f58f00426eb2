"""Training an autoencoder, with a discriminator if its loss has one."""

from typing import Any

import torch
from torch import Tensor, nn

from invariances.iterators.base import Iterator


class AutoencoderIterator(Iterator):
    """Train on reconstruction and KL losses and, if the loss has a discriminator, adversarially.

    Args:
        model: `Autoencoder`.
        loss: `AutoencoderLoss`; its log-variance is trained with the model.
        d_lr_factor: ratio of the discriminator's learning rate to the model's.
        **schedule: learning_rate, num_steps, decay_start, seed, weight_decay; see `Iterator`.
    """

    loss: Any  # a torch.nn.Module; see `AutoencoderLoss`

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        d_lr_factor: float = 1.0,
        **schedule: Any,
    ) -> None:
        super().__init__(model, **schedule)
        self.loss, self.d_lr_factor = loss, d_lr_factor
        self.automatic_optimization = False  # two optimisers alternate

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for the autoencoder, one for the discriminator if there is one."""
        generator = self.adam([*self.model.parameters(), self.loss.logvar])
        if self.loss.discriminator is None:
            return [generator]
        return [generator, self.adam(self.loss.discriminator.parameters(), self.d_lr_factor)]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """One step of the autoencoder, then one of the discriminator on the same images."""
        reconstruction, posterior = self.model(batch["image"])
        optimizers = self.optimizers()
        generator, *rest = optimizers if isinstance(optimizers, list) else [optimizers]
        loss, logs = self.loss.generator_loss(
            batch["image"], reconstruction, posterior, self.model.last_layer, int(self.step)
        )
        self._take_step(generator, loss, logs)
        for discriminator in rest if self.loss.adversarial(int(self.step)) else []:
            loss, logs = self.loss.discriminator_loss(batch["image"], reconstruction.detach(), int(self.step))
            self._take_step(discriminator, loss, logs)

    def _take_step(self, optimizer: Any, loss: Tensor, logs: dict[str, Tensor]) -> None:
        self.report(logs, "train")
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def terms(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss without the discriminator, at the mode of the posterior; used in validation."""
        posterior = self.model.encode(batch["image"])
        reconstruction = self.model.decode(posterior.mode())
        _, logs = self.loss.negative_elbo(batch["image"], reconstruction, posterior)
        return logs

    def sample_images(self, n: int, generator: torch.Generator) -> Tensor:
        """Sample images D(z̄), z̄ ~ N(0, 1), (n, C, H, W) in [-1, 1]."""
        noise = torch.randn((n, self.model.z_dim, 1, 1), generator=generator, device=generator.device)
        return self.model.decode(noise.to(self.device))

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images of the codes' modes, (B, C, H, W) in [-1, 1]."""
        return self.model.decode(self.model.encode(images).mode())

    def views(self, images: Tensor, n_samples: int, generator: torch.Generator) -> list[tuple[str, Tensor]]:
        """Images, their reconstructions, and samples D(z̄), z̄ ~ N(0, 1); each (B, C, H, W) in [-1, 1]."""
        samples = [
            (f"D(N(0,1)) {i + 1}", self.sample_images(len(images), generator)) for i in range(n_samples)
        ]
        return [("input", images), ("reconstruction", self.reconstruct(images)), *samples]
