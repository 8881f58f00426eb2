"""EncodedImages images, and the sets of images that are compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from invariances.evaluation.metrics.hue import hue


@dataclass(frozen=True)
class Networks:
    """The networks that a cINN's samples pass through.

    Attributes:
        cinn: `ConditionalTransformer`, t.
        greybox: `Greybox`, Φ = encode, Ψ = decode.
        autoencoder: `Autoencoder`, E and D.
        baseline: z -> code, deterministic; or None.
    """

    cinn: Any
    greybox: Any
    autoencoder: Any
    baseline: Any = None


@dataclass(frozen=True)
class EncodedImages:
    """EncodedImages images and what the networks make of them.

    Attributes:
        images: x, (n, C, H, W) in [-1, 1].
        codes: z̄ ~ E(x), (n, N, 1, 1).
        z: Φ(x), (n, …).
        logits: Ψ(Φ(x)), (n, classes).
    """

    images: Tensor
    codes: Tensor
    z: Tensor
    logits: Tensor

    @classmethod
    def of(cls, images: Tensor, networks: Networks, batch_size: int, generator: torch.Generator) -> EncodedImages:
        """Encode images, `batch_size` at a time."""
        require_finite("real images", pixels=images)
        parts = []
        for x in images.split(batch_size):
            z = networks.greybox.encode(x)
            parts.append((networks.autoencoder.encode(x).sample(generator), z, networks.greybox.decode(z)))
        codes, z, logits = (torch.cat(each) for each in zip(*parts, strict=True))
        require_finite("real images", codes=codes, z=z, logits=logits)
        return cls(images, codes, z, logits)

    def __getitem__(self, indices: Tensor) -> EncodedImages:
        return EncodedImages(self.images[indices], self.codes[indices], self.z[indices], self.logits[indices])

    def as_generated(self) -> GeneratedImages:
        """The images as if each had been made, one for each of as many others."""
        return GeneratedImages(self.images[:, None], self.codes[:, None], self.z[:, None], self.logits[:, None])


@dataclass(frozen=True)
class GeneratedImages:
    """Images that were made for real ones, k for each, and what the networks make of them.

    Attributes:
        images: (B, k, C, H, W).
        codes: what they were decoded from, (B, k, N, 1, 1).
        z: (B, k, …).
        logits: (B, k, classes).
    """

    images: Tensor
    codes: Tensor
    z: Tensor
    logits: Tensor

    @classmethod
    def of(cls, codes: Tensor, networks: Networks, what: str) -> GeneratedImages:
        """Decode codes (B, k, N, 1, 1) of what is made, and see what the network under study sees in the images."""
        images = networks.autoencoder.decode(codes.flatten(0, 1))
        z = networks.greybox.encode(images)
        logits = networks.greybox.decode(z)
        require_finite(what, codes=codes.flatten(0, 1), pixels=images, z=z, logits=logits)
        return cls(*(each.unflatten(0, codes.shape[:2]) for each in (images, codes.flatten(0, 1), z, logits)))

    def repeated(self, n: int) -> GeneratedImages:
        """Images generated for one image, as if for n."""
        return GeneratedImages(
            *(each.expand(n, *each.shape[1:]) for each in (self.images, self.codes, self.z, self.logits))
        )

    @property
    def hues(self) -> Tensor:
        """Hues of the images, (B, k); (B, 0) for grey ones."""
        n_images, k, n_channels = self.images.shape[:3]
        if n_channels != 3:
            return self.images.new_empty(n_images, 0)
        return hue(self.images.flatten(0, 1))[0].unflatten(0, (n_images, k))


def require_finite(what: str, **parts: Tensor) -> None:
    """Refuse images of which something is not finite: means would pass over them, and classes be the first.

    Args:
        what: the images, for the message.
        parts: what there is of each of them, (n, …).

    >>> require_finite("samples", z=torch.tensor([[0.0, 1.0], [0.0, torch.nan]]))
    Traceback (most recent call last):
    ValueError: samples: 1 of 2 have z that are not finite
    """
    for name, values in parts.items():
        if broken := int((~values.isfinite()).reshape(len(values), -1).any(dim=1).sum()):
            raise ValueError(f"{what}: {broken} of {len(values)} have {name} that are not finite")


def neighbours(real: EncodedImages) -> dict[str, Tensor]:
    """For each image the place of another one of the set: `random`, and `nearest` by the cosine of their z."""
    n = len(real.images)
    shift = int(torch.randint(1, n, (), generator=torch.Generator().manual_seed(0)))
    unit = functional.normalize(real.z.flatten(1), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return {"random": torch.arange(n, device=unit.device).roll(shift), "nearest": similarity.argmax(dim=1)}


def references(
    real: EncodedImages, indices: Tensor, others: Mapping[str, Tensor], networks: Networks
) -> dict[str, GeneratedImages]:
    """What the samples of some images are compared with.

    - `autoencoder`: the reconstruction D(E(x)), the best that a sample can do.
    - `mlp`: D(MLP(z)), where there is such a baseline.
    - `mean`: D(mean code), the same for all images.
    - `random`, `nearest`: other images of the set.

    Args:
        real: all images.
        indices: those to find references for.
        others: see `neighbours`.
        networks: to make images with.
    """
    batch, mean_code = real[indices], real.codes.mean(dim=0)[None, None]
    made = {"autoencoder": GeneratedImages.of(batch.codes[:, None], networks, "reconstructions")}
    if networks.baseline is not None:
        made["mlp"] = GeneratedImages.of(networks.baseline(batch.z)[:, None], networks, "the baseline's images")
    made["mean"] = GeneratedImages.of(mean_code, networks, "images of the mean code").repeated(len(indices))
    return made | {name: real[other[indices]].as_generated() for name, other in others.items()}
