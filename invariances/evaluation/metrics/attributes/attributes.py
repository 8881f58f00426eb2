"""What a layer keeps of named properties of images, as an evaluation and as a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, Evaluation, HasConditionalFlow
from invariances.evaluation.metrics.attributes.image_statistics import STATISTICS, Statistic
from invariances.evaluation.metrics.attributes.linear import explained_by, predictions
from invariances.evaluation.metrics.attributes.table import read_table
from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages, Networks
from invariances.evaluation.random_indices import random_examples, random_subset
from invariances.models.studied.tracing import evaluating
from invariances.utils.arguments import require_at_least
from invariances.utils.names import hint

MIN_KNOWN = 0.5  # share of the images that must have an attribute
LEGEND = {
    "attribute_*_ci": "Half the width of the 95 % interval.",
    "attribute_*_autoencoder": "The same of the reconstruction in place of the samples' mean. A layer exceeds it by "
    "what the mean of several samples averages out of the errors of one reconstruction. Where the autoencoder loses "
    "the attribute, the layer's numbers mean little.",
    "attribute_*_measured": "Share of the attribute's variance that the layer is shown to keep: 1 minus the squared "
    "distance of the input's value from the mean of its samples', over the variance. 1: the mean is the input's value; "
    "0: it tells no more than the mean of all images; below 0: less.",
    "attribute_*_shuffled": "The flow's claim for samples of other images: the floor, 0 if samples vary as the images "
    "do.",
    "attribute_*_probe": "Share of the attribute's variance that a linear function of the response predicts.",
    "attribute_*": "Share of the attribute's variance that the samples of one response have in common: the spread of "
    "the samples alone, whatever their input. It is above what is measured where the flow is over-confident or the "
    "autoencoder changes the attribute.",
}


class Attributes(Evaluation[HasConditionalFlow]):
    """What a layer keeps of named properties, on the validation split: see `attributes`.

    Args:
        statistics: names of properties of the pixels, all of `STATISTICS` by default.
        labels: whether the labels of the data set count too.
        table: path of a table with a property in each column (.csv with a head), and a row for each image: its column
            `index` or `file` names the image.
        n_images: number of validation images, a random subset; null for all.
        n_samples: samples per image, at least 2.
        batch_size: images at a time.
        seed: of the subset of images, of codes and samples.

    Raises:
        InvalidInput: no such statistic; a number is too small.

    Example: in a config it is `evaluation: {attributes: {statistics: [hue, scale]}}`.

        >>> Attributes(statistics=["hues"])
        Traceback (most recent call last):
        invariances.errors.InvalidInput: statistics: no hues; did you mean hue?
    """

    needs = HasConditionalFlow
    legend = LEGEND

    def __init__(
        self,
        statistics: Sequence[str] = tuple(STATISTICS),
        labels: bool = True,
        table: str | None = None,
        n_images: int | None = 1000,
        n_samples: int = 8,
        batch_size: int = 50,
        seed: int = 0,
    ) -> None:
        require_at_least(n_samples=(n_samples, 2), batch_size=(batch_size, 1))
        if n_images is not None:
            require_at_least(n_images=(n_images, 2))
        for name in statistics:
            if name not in STATISTICS:
                raise InvalidInput(f"statistics: no {name}{hint(name, STATISTICS)}")
        self.statistics = {name: STATISTICS[name] for name in statistics}
        self.labels, self.table = labels, table
        self.n_images, self.n_samples, self.batch_size, self.seed = n_images, n_samples, batch_size, seed

    def __call__(self, iterator: HasConditionalFlow, loader: Batches, folder: Path) -> dict[str, float]:
        """Measure an iterator with a cINN, a greybox and an autoencoder."""
        batch = random_examples(loader, self.n_images, iterator.device, self.seed)
        labels = {k: v for k, v in batch.items() if v.ndim == 1} if self.labels else {}
        if self.table is not None:
            dataset = cast(Sized, getattr(loader, "dataset", loader))
            rows = random_subset(len(dataset), self.n_images, self.seed).tolist()
            labels |= read_table(Path(self.table), getattr(dataset, "files", None), rows)
        return attributes(
            iterator.model,
            iterator.greybox.network,
            iterator.autoencoder.network,
            batch["image"],
            statistics=self.statistics,
            labels=labels,
            n_samples=self.n_samples,
            batch_size=self.batch_size,
            seed=self.seed,
        )


@torch.no_grad()
def attributes(
    cinn: nn.Module,
    greybox: nn.Module,
    autoencoder: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    statistics: Mapping[str, Statistic] = STATISTICS,
    labels: Mapping[str, Tensor] | None = None,
    n_samples: int = 8,
    batch_size: int = 50,
    seed: int = 0,
) -> dict[str, float]:
    """Measure which part of an attribute's variance a layer keeps: of samples x̃ = D(t⁻¹(v|z)), v ~ N(0, 1).

    For an attribute a of images:

    - `attribute_<name>`: 1 − E_z[Var_v a(x̃)] / Var a(x), what the flow claims that z determines.
    - `…_measured`: 1 − (E‖a(x) − ā‖² − E_z[Var_v a(x̃)]/n) / Var a(x), with ā the mean over the n samples of x: the same
      number for an exact flow and autoencoder, lower for a flow that is too sure.
    - `…_autoencoder`: 1 − E‖a(x) − a(D(E(x)))‖² / Var a(x), the ceiling of what is measured, but for errors
      that the mean of samples averages out.
    - `…_shuffled`: the first number with samples of n different images in place of those of one; the floor.
    - `…_probe`: part of Var a(x) that ridge regression on z predicts, in 5-fold cross-validation.

    A label has no value for a sample. In its place stands the prediction â of a ridge regression on codes, or of a
    logistic one for classes, fitted to other images (cross-fitting); a(x) remains the label. The ceiling is what â of
    the image's own code tells; the flow's claim and the floor are those of â, times the ceiling. Classes count as
    vectors with one 1.

    Attributes that half of the images lack, or that do not vary, are left out.

    Args:
        cinn, greybox, autoencoder: see `faithfulness`.
        images: at least 2, in [-1, 1], on the networks' device.
        statistics: name -> function from images to (B,), real or complex, NaN where undefined.
        labels: name -> (B,); integers are classes.
        n_samples, batch_size, seed: see `faithfulness`.

    Returns:
        name -> estimate, and `<name>_ci` -> half the width of its 95 % interval over the images.

    Source: Rombach, Esser and Ommer 2020, Making sense of CNNs, section 4.3, for one attribute.

    Raises:
        InvalidInput: fewer than 2 images or samples.
    """
    if len(images) < 2:
        raise InvalidInput(f"got {len(images)} image(s); expected at least 2")
    require_at_least(n_samples=(n_samples, 2), batch_size=(batch_size, 1))
    generator = torch.Generator(images.device).manual_seed(seed)
    networks = Networks.of(cinn, greybox, autoencoder, None)
    with evaluating(cinn, greybox, autoencoder):
        real = EncodedImages.of(images, networks, batch_size, generator)
        codes, sampled, rebuilt = _generate(real, networks, statistics, n_samples, batch_size, generator)
    values = {name: as_vectors(statistic(images)) for name, statistic in statistics.items()}
    labels = labels or {}
    for name, label in labels.items():
        values[name] = as_vectors(label)
        rebuilt[name], sampled[name] = predictions(
            real.codes, values[name], codes, classes=not label.is_floating_point(), seed=seed
        )
    found: dict[str, float] = {}
    usable = [name for name, each in values.items() if _varies(each)]
    for name, probe in zip(usable, explained_by(real.z, [values[n] for n in usable], seed), strict=True):
        ceiling = _explained(values[name], rebuilt[name])
        if name in labels:
            claims = {end: ceiling * claim for end, claim in _claimed(rebuilt[name], sampled[name], seed).items()}
        else:
            claims = _claimed(values[name], sampled[name], seed)
        measured = _measured(values[name], sampled[name])
        estimates = claims | {"_measured": measured, "_autoencoder": ceiling, "_probe": probe}
        for end, estimate in estimates.items():
            found |= estimate.numbers(f"attribute_{name}{end}")
    return found


def _generate(
    real: EncodedImages,
    networks: Networks,
    statistics: Mapping[str, Statistic],
    n_samples: int,
    batch_size: int,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Codes of samples (n, k, N, 1, 1), their attributes (n, k, d), and those of reconstructions (n, d)."""
    codes: list[Tensor] = []
    sampled: dict[str, list[Tensor]] = {name: [] for name in statistics}
    rebuilt: dict[str, list[Tensor]] = {name: [] for name in statistics}
    batches = torch.arange(len(real.images), device=real.images.device).split(batch_size)
    for indices in tqdm(batches, desc="attributes", unit="batch", leave=False, disable=None):
        batch = real[indices]
        samples = GeneratedImages.of(networks.cinn.sample(batch.z, n_samples, generator), networks, "samples")
        reconstructions = networks.autoencoder.decode(batch.codes)
        codes.append(samples.codes)
        for name, statistic in statistics.items():
            flat = as_vectors(statistic(samples.images.flatten(0, 1)))
            sampled[name].append(flat.unflatten(0, (len(indices), n_samples)))
            rebuilt[name].append(as_vectors(statistic(reconstructions)))
    return torch.cat(codes), _joined(sampled), _joined(rebuilt)


def _joined(parts: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat(each) for name, each in parts.items()}


def as_vectors(values: Tensor) -> Float[Tensor, "batch d"]:
    """Values (B,) as vectors whose squared distance is that of the values; classes as vectors with one 1.

    >>> as_vectors(torch.tensor([1 + 2j])), as_vectors(torch.tensor([0, 1]))
    (tensor([[1., 2.]]), tensor([[1., 0.],
            [0., 1.]]))
    """
    if values.is_complex():
        return torch.view_as_real(values)
    if values.is_floating_point():
        return values[:, None]
    return functional.one_hot(values.unique(return_inverse=True)[1]).float()


def _varies(values: Tensor) -> bool:
    known = values[~values.isnan().any(dim=1)]
    return len(known) >= max(2, MIN_KNOWN * len(values)) and bool((known.std(dim=0) > 1e-6).any())


def _deviations(values: Tensor) -> Tensor:
    """Squared distance of each value (n, d) from the mean, times n/(n−1): their mean is the variance."""
    known = values[~values.isnan().any(dim=1)]
    return (values - known.mean(dim=0)).square().sum(dim=1) * len(known) / max(1, len(known) - 1)


def _explained(values: Tensor, predicted: Tensor) -> Estimate:
    """1 − E‖a − â‖² / Var a, over the images that have both."""
    error = _squared(values - predicted)
    return _one_minus(error, torch.where(error.isnan(), torch.nan, _deviations(values)))


def _squared(differences: Tensor) -> Tensor:
    return differences.square().sum(dim=1)


def _measured(values: Tensor, samples: Tensor) -> Estimate:
    """By the error of the mean of samples (n, k, d), of attributes (n, d) of images."""
    within, n_known = _within(samples)
    return _one_minus(_squared(values - samples.nanmean(dim=1)) - within / n_known, _deviations(values))


def _claimed(values: Tensor, samples: Tensor, seed: int) -> dict[str, Estimate]:
    """Name's end -> estimate, by the spread of samples (n, k, d) of one image, and of samples of different images."""
    total = _deviations(values)
    shuffled = torch.randperm(samples.shape[0] * samples.shape[1], generator=torch.Generator().manual_seed(seed))
    others = samples.flatten(0, 1)[shuffled.to(samples.device)].view_as(samples)
    return {
        "": _one_minus(_within(samples)[0], total),
        "_shuffled": _one_minus(_within(others)[0], total),
    }


def _within(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Unbiased variance over the samples that have the attribute, and their number; NaN for fewer than two."""
    n_known = (~samples.isnan().any(dim=2)).sum(dim=1)
    n_known = torch.where(n_known > 1, n_known, torch.nan)
    squared = (samples - samples.nanmean(dim=1, keepdim=True)).square().sum(dim=2).nansum(dim=1)
    return squared / (n_known - 1), n_known


def _one_minus(part: Tensor, total: Tensor) -> Estimate:
    return 1 - Estimate.mean(part) / Estimate.mean(total)
