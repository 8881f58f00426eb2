"""Do samples of a conditional INN hold what the layer holds, and do they vary in everything else?"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from invariances.evaluation.base import first_examples
from invariances.evaluation.colour import hue

COLOURED = 0.02  # the least chroma of an image whose hue means anything


class Faithfulness:
    """Faithfulness of a cINN on the validation split: see `faithfulness`.

    Args:
        n_images: how many validation images, from the first on; null for all.
        n_samples: samples per image, at least 2.
        batch_size: images at a time.
        seed: of the samples.
    """

    def __init__(
        self, n_images: int | None = 1000, n_samples: int = 8, batch_size: int = 50, seed: int = 0
    ) -> None:
        if n_samples < 2:
            raise ValueError(f"n_samples = {n_samples}; diversity needs at least 2 samples of each image")
        self.n_images, self.n_samples, self.batch_size, self.seed = n_images, n_samples, batch_size, seed

    def __call__(self, iterator: Any, loader: Any, folder: Path) -> dict[str, float]:
        """Measure an iterator that has a cINN, a greybox and an autoencoder."""
        return faithfulness(
            iterator.model,
            iterator.greybox.network,
            iterator.autoencoder.network,
            first_examples(loader, self.n_images, iterator.device)["image"],
            n_samples=self.n_samples,
            batch_size=self.batch_size,
            seed=self.seed,
        )


@torch.no_grad()
def faithfulness(
    cinn: nn.Module,
    greybox: nn.Module,
    autoencoder: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    n_samples: int = 8,
    batch_size: int = 50,
    seed: int = 0,
) -> dict[str, float]:
    """Measure how faithful samples x̃ = D(t⁻¹(v|z)), v ~ N(0, 1), are to z = Φ(x).

    - `cosine`, `relative_l2`: of Φ(x̃) to z, and the same of three references: `_random` (another image of the set),
      `_nearest` (the most similar other image), `_autoencoder` (the reconstruction D(E(x)): the ceiling).
    - `class_agreement`: part of the samples that the network gives the class it gives x.
    - `diversity`: variance over the samples of one x, over the variance of the images; means over pixels. 0 where
      samples are all the same; 1 where they vary as much as the data.
    - `hue_agreement`: mean cos(hue(x̃) − hue(x)) over images that have a colour; 0 if hues are independent.
    - `nll`: −log p(z̄|z) of the codes without the constant N/2·log 2π; `nll_gaussian`: the same of independent Gaussians
      with the codes' own mean and variance, which know nothing of z.
    - `half_v_squared`: ½v² per dimension; ½ for v ~ N(0, 1).

    Args:
        cinn: `ConditionalTransformer`.
        greybox: `Greybox`, Φ = encode, Ψ = decode.
        autoencoder: `Autoencoder`.
        images: at least 2, in [-1, 1], on the networks' device.
        n_samples: samples per image, at least 2.
        batch_size: images at a time.
        seed: of codes and samples.

    Returns:
        name -> mean over the images.

    Raises:
        ValueError: fewer than 2 images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} image(s); faithfulness compares at least 2")
    generator = torch.Generator(images.device).manual_seed(seed)
    batches = [
        _measure(x, cinn, greybox, autoencoder, n_samples, generator) for x in images.split(batch_size)
    ]
    per_image = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    codes, z = per_image.pop("code"), per_image.pop("z")
    per_image |= _references(z)
    means = {name: values.nanmean().item() for name, values in per_image.items() if not values.isnan().all()}
    means["diversity"] = means.pop("sample_variance") / images.var(dim=0).mean().item()
    means["nll_gaussian"] = 0.5 * (codes.var(dim=0).log() + 1).sum().item()
    return means


def _measure(
    x: Tensor, cinn: Any, greybox: Any, autoencoder: Any, n_samples: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Everything about one batch that is a number per image, and its codes and representations as rows."""
    z = greybox.encode(x)
    code = autoencoder.encode(x).sample(generator)
    v, logdet = cinn(code, z)
    samples = autoencoder.decode(cinn.sample(z, n_samples, generator).flatten(0, 1))
    z_samples = greybox.encode(samples)
    z_reconstructions = greybox.encode(autoencoder.decode(code))
    return {
        "z": z.flatten(1),
        "code": code.flatten(1),
        "nll": v.square().flatten(1).sum(1) / 2 - logdet,
        "half_v_squared": v.square().flatten(1).mean(1) / 2,
        "sample_variance": samples.unflatten(0, (-1, n_samples)).var(dim=1).flatten(1).mean(1),
        "class_agreement": _same_class(greybox.decode(z), greybox.decode(z_samples)),
        "hue_agreement": _same_hue(x, samples),
        **_distances("", z, z_samples),
        **_distances("_autoencoder", z, z_reconstructions),
    }


def _distances(suffix: str, z: Tensor, others: Tensor) -> dict[str, Tensor]:
    """Cosine and relative L2 distance of each image's representation to its k others, averaged over these."""
    z = z.flatten(1).unsqueeze(1)  # (B, 1, D)
    others = others.flatten(1).unflatten(0, (len(z), -1))  # (B, k, D)
    relative = (others - z).norm(dim=2) / z.norm(dim=2)
    cosine = functional.cosine_similarity(others, z, dim=2)
    return {f"cosine{suffix}": cosine.mean(1), f"relative_l2{suffix}": relative.mean(1)}


def _references(z: Tensor) -> dict[str, Tensor]:
    """Distances of each representation to another one at random, and to its nearest neighbour by cosine."""
    shift = torch.randint(1, len(z), (), generator=torch.Generator().manual_seed(0)).item()
    unit = functional.normalize(z, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return {
        **_distances("_random", z, z.roll(int(shift), dims=0)),
        **_distances("_nearest", z, z[similarity.argmax(dim=1)]),
    }


def _same_class(logits: Tensor, sample_logits: Tensor) -> Tensor:
    """Part of the samples whose most likely class is that of their image."""
    classes = sample_logits.argmax(1).unflatten(0, (len(logits), -1))
    return (classes == logits.argmax(1, keepdim=True)).float().mean(1)


def _same_hue(x: Tensor, samples: Tensor) -> Tensor:
    """Mean cosine of the angle between the hues of image and samples; NaN where the image has no colour."""
    if x.shape[1] != 3:
        return torch.full((len(x),), torch.nan, device=x.device)
    angle, chroma = hue(x)
    sample_angle = hue(samples)[0].unflatten(0, (len(x), -1))
    return torch.where(chroma > COLOURED, (sample_angle - angle[:, None]).cos().mean(1), torch.nan)
