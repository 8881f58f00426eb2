"""Real images with their codes and representations, and the sets of generated images that are compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from invariances.errors import InvalidInput
from invariances.evaluation.base import Distribution
from invariances.evaluation.metrics.hue import defined_hue
from invariances.evaluation.random_indices import derangement
from invariances.models.first_stages.codes import gaussian

ROUNDING = 1e-6  # of a cosine in float32


@runtime_checkable
class ConditionalFlow(Protocol):
    """A conditional INN, such as `ConditionalTransformer`."""

    def __call__(self, code: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, N, 1, 1) and representations -> v (B, N, 1, 1) and log-determinants (B,)."""

    def sample(self, z: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Representations -> n codes each, (B, n, N, 1, 1)."""


@runtime_checkable
class SplitNetwork(Protocol):
    """A network in two parts at a layer, such as `Greybox`."""

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] -> representations z = Φ(x)."""

    def decode(self, z: Tensor) -> Tensor:
        """Representations -> output Ψ(z)."""


@runtime_checkable
class FirstStage(Protocol):
    """An autoencoder, such as `Autoencoder`."""

    def encode(self, x: Tensor) -> Tensor | Distribution:
        """Images (B, C, H, W) in [-1, 1] -> codes, or a distribution over them, as `gaussian` takes them."""

    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, N, 1, 1) -> images."""


@dataclass(frozen=True)
class Networks:
    """The networks that a cINN's samples pass through.

    Attributes:
        cinn: t.
        greybox: Φ = encode, Ψ = decode.
        autoencoder: E and D.
        baseline: z -> code, deterministic; or None.
    """

    cinn: ConditionalFlow
    greybox: SplitNetwork
    autoencoder: FirstStage
    baseline: nn.Module | None = None

    @classmethod
    def of(cls, cinn: nn.Module, greybox: nn.Module, autoencoder: nn.Module, baseline: nn.Module | None) -> Networks:
        """The networks, whose methods mypy cannot see in an nn.Module."""
        return cls(
            cast(ConditionalFlow, cinn), cast(SplitNetwork, greybox), cast(FirstStage, autoencoder), baseline
        )


@dataclass(frozen=True)
class EncodedImages:
    """Real images, their codes and representations.

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
            codes = gaussian(networks.autoencoder.encode(x)).sample(generator)
            parts.append((codes, z, outputs(networks.greybox, x, z)))
        codes, z, logits = (torch.cat(each) for each in zip(*parts, strict=True))
        require_finite("real images", codes=codes, z=z, logits=logits)
        return cls(images, codes, z, logits)

    def __getitem__(self, indices: Tensor) -> EncodedImages:
        return EncodedImages(self.images[indices], self.codes[indices], self.z[indices], self.logits[indices])

    def as_generated(self) -> GeneratedImages:
        """The images as a set with one generated image (k = 1) for each of as many others."""
        return GeneratedImages(self.images[:, None], self.codes[:, None], self.z[:, None], self.logits[:, None])


@dataclass(frozen=True)
class GeneratedImages:
    """Generated images, k for each real one, their codes and representations.

    Attributes:
        images: (B, k, C, H, W).
        codes: that they were decoded from, (B, k, N, 1, 1).
        z: (B, k, …).
        logits: (B, k, classes).
    """

    images: Tensor
    codes: Tensor
    z: Tensor
    logits: Tensor

    @classmethod
    def of(cls, codes: Tensor, networks: Networks, name: str) -> GeneratedImages:
        """Decode codes (B, k, N, 1, 1), and encode the images again, B at a time; `name` names them in messages."""
        parts = []
        for part in codes.flatten(0, 1).split(len(codes)):
            images = networks.autoencoder.decode(part)
            z = networks.greybox.encode(images)
            parts.append((images, z, outputs(networks.greybox, images, z)))
        images, z, logits = (torch.cat(each) for each in zip(*parts, strict=True))
        require_finite(name, codes=codes.flatten(0, 1), pixels=images, z=z, logits=logits)
        return cls(*(each.unflatten(0, codes.shape[:2]) for each in (images, codes.flatten(0, 1), z, logits)))

    def repeated(self, n: int) -> GeneratedImages:
        """Images generated for one image, as if for n."""
        return GeneratedImages(
            *(each.expand(n, *each.shape[1:]) for each in (self.images, self.codes, self.z, self.logits))
        )

    @property
    def hues(self) -> Tensor:
        """Hues of the images, (B, k), NaN of those without one; (B, 0) for images without colours."""
        n_images, k, n_channels = self.images.shape[:3]
        if n_channels != 3:
            return self.images.new_empty(n_images, 0)
        return defined_hue(self.images.flatten(0, 1)).unflatten(0, (n_images, k))


def outputs(greybox: SplitNetwork, images: Tensor, z: Tensor) -> Tensor:
    """The output of a network under study: Ψ(z), or f(x) where z is a representation that does not determine it.

    Args:
        greybox: Φ = encode, Ψ = decode.
        images: x, (B, C, H, W) in [-1, 1].
        z: Φ(x).
    """
    return greybox.decode(z) if getattr(greybox, "splits", True) else cast(nn.Module, greybox)(images)


def require_finite(images: str, **parts: Tensor) -> None:
    """Refuse values that are not finite: means would leave them out, and the predicted class would be the first.

    Args:
        images: name of the images, for the message.
        parts: values of each of them, (n, …).

    Raises:
        InvalidInput: says for how many images.

    >>> require_finite("samples", z=torch.tensor([[0.0, 1.0], [0.0, torch.nan]]))
    Traceback (most recent call last):
    invariances.errors.InvalidInput: samples: 1 of 2 have z that are not finite
    """
    for name, values in parts.items():
        if broken := int((~values.isfinite()).reshape(len(values), -1).any(dim=1).sum()):
            raise InvalidInput(f"{images}: {broken} of {len(values)} have {name} that are not finite")


def neighbours(real: EncodedImages, seed: int = 0, classes: Tensor | None = None) -> dict[str, Tensor]:
    """For each image the index of another one of the set, (n,).

    - `random`.
    - `nearest`: by the cosine of their z. Of equally near ones one at random; zero vectors are nearest to each other.
    - `negative`: the nearest of those with another label, a hard negative; left out without labels of several classes.

    Args:
        real: the images.
        seed: of what is left to chance.
        classes: labels, (n,).

    >>> z = torch.tensor([1.0, 1.0, -1.0, -1.0]).reshape(4, 1, 1, 1)
    >>> found = neighbours(EncodedImages(z, z, z, z), classes=torch.tensor([0, 1, 0, 0]))
    >>> found["nearest"], found["negative"]
    (tensor([1, 0, 3, 2]), tensor([1, 0, 1, 1]))
    """
    n, z = len(real.images), real.z.flatten(1)
    zero = (z == 0).all(dim=1)
    similarity = functional.normalize(z, dim=1) @ functional.normalize(z, dim=1).T + (zero[:, None] & zero)
    order = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)).to(similarity)
    similarity = (similarity + ROUNDING * order).fill_diagonal_(-torch.inf)
    found = {"random": derangement(n, seed).to(z.device), "nearest": similarity.argmax(dim=1)}
    if classes is not None and classes.ndim == 1 and len(classes.unique()) > 1:
        same = classes[:, None] == classes
        found["negative"] = similarity.masked_fill(same, -torch.inf).argmax(dim=1)
    return found


def references(
    real: EncodedImages, indices: Tensor, others: Mapping[str, Tensor], networks: Networks
) -> dict[str, GeneratedImages]:
    """The images that the samples of some images are compared with.

    - `autoencoder`: the reconstruction D(E(x)) from one random code.
    - `mlp`: D(MLP(z)), with a baseline.
    - `mean`: D(mean code), the same for all images.
    - `random`, `nearest`, `negative`: other images of the set.

    Args:
        real: all images.
        indices: of the images to find references for.
        others: see `neighbours`.
        networks: that generate the images.
    """
    batch, mean_code = real[indices], real.codes.mean(dim=0)[None, None]
    generated = {"autoencoder": GeneratedImages.of(batch.codes[:, None], networks, "reconstructions")}
    if networks.baseline is not None:
        generated["mlp"] = GeneratedImages.of(networks.baseline(batch.z)[:, None], networks, "the baseline's images")
    generated["mean"] = GeneratedImages.of(mean_code, networks, "images of the mean code").repeated(len(indices))
    return generated | {name: real[other[indices]].as_generated() for name, other in others.items()}
