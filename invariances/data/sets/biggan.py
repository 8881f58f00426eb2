"""Inputs of a class-conditional GAN, latents and classes, for models trained on its samples."""

from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Int64

from invariances.data.base import Batch, BatchedDataset
from invariances.data.random_streams import RandomStreams
from invariances.errors import InvalidInput
from invariances.utils.arguments import require_at_least

_BOUND = 2.0  # BigGAN truncates the normal distribution at ±2, then scales


class BigGANSamples(BatchedDataset):
    """Inputs of BigGAN: latents and classes.

    An example has `latent` (z_dim, 1, 1), float32, from the normal distribution truncated at ±2, times
    `truncation`; and `class`, its index modulo `n_classes`, so that all classes are equally frequent. (A. Brock,
    J. Donahue, K. Simonyan, "Large scale GAN training for high fidelity natural image synthesis", ICLR 2019.)

    Args:
        n: number of examples.
        z_dim: channels of the latent; 140 for 256×256 pixels, 120 for 128×128.
        n_classes: of the generator.
        truncation: factor in (0, 1]; smaller is more typical, less varied.
        seed: of the latents; `None` fixes them.

    Raises:
        InvalidInput: a truncation outside (0, 1], or a number below 1.
    """

    def __init__(self, n: int, z_dim: int, n_classes: int, truncation: float, seed: int | None) -> None:
        if not 0 < truncation <= 1:
            raise InvalidInput(f"truncation is {truncation}; expected a number in (0, 1]")
        require_at_least(n=(n, 1), z_dim=(z_dim, 1), n_classes=(n_classes, 1))
        super().__init__(n, {"class": torch.arange(n) % n_classes}, seed)
        self.z_dim, self.truncation = z_dim, truncation

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """Sample the latents by inversion of the normal distribution function."""
        tail = NormalDist().cdf(-_BOUND)
        quantile = torch.from_numpy(tail + (1 - 2 * tail) * streams.uniform("latent", self.z_dim))
        latent = self.truncation * torch.special.ndtri(quantile)
        return {"latent": latent.float()[:, :, None, None], **self.labels_at(index)}


class BigGANSamplesTrain(BigGANSamples):
    """Latents and classes to train on, different in each epoch; arguments as `BigGANSamples`.

    Example:
        >>> data = BigGANSamplesTrain(n=20, z_dim=4)
        >>> data[7]["latent"].shape, data[7]["class"]
        (torch.Size([4, 1, 1]), tensor(7))
    """

    def __init__(
        self,
        n: int = 100_000,
        z_dim: int = 140,
        n_classes: int = 1000,
        truncation: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(n, z_dim, n_classes, truncation, seed)


class BigGANSamplesTest(BigGANSamples):
    """Latents and classes to test on, the same in every epoch and run; other latents than in training."""

    def __init__(
        self, n: int = 10_000, z_dim: int = 140, n_classes: int = 1000, truncation: float = 1.0
    ) -> None:
        super().__init__(n, z_dim, n_classes, truncation, None)
