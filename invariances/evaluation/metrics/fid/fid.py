"""How far samples are from real images, as sets: Fréchet and kernel distance, precision and recall."""

import warnings
from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from invariances.evaluation.metrics.fid.extractors import Extractor, LayerExtractor, Mode, random_network
from invariances.evaluation.metrics.fid.inception import WeightsMissing, inception
from invariances.evaluation.metrics.fid.pairwise import NEIGHBOURS, kernel_distance, precision_and_recall
from invariances.evaluation.metrics.fid.reference import FeatureSet, images_of, measure, reference
from invariances.evaluation.metrics.fid.value_range import ValueRange
from invariances.flows.vectors import require

N_DRAWN = 50  # samples drawn at a time: fixed, so that scores do not depend on `batch_size`


class FID:
    """Scores of a model's samples against the validation split: see `scores`.

    Samples are drawn by `iterator.sample_images(n, generator)`; those of a conditional model by
    `iterator.sample_like(images, generator)`, one for each image of the split, over and over if more are expected. The
    split is measured once and kept in a file, see `reference`. Where the weights of Inception are missing, a warning
    says so and the random network takes its place; the scores' names tell.

    Args:
        features: `inception`, `random`, or a network with `encode`, such as a `Greybox`.
        mode: of resizing: `legacy`, as published FIDs, or `clean`.
        batch_size: images the network sees at a time.
        n_samples: as many as real images unless given.
        kid, precision_recall: report them too; they keep all features in memory.
        pre_calc_stat_path: file of the split's statistics, written if it is not there; without it, one in the
            cache.
        features_name: of a network, in the scores' names; its class and layer unless given.
        weights: a file with Inception's weights, in place of the published one.
        seed: of the samples.

    Raises:
        ValueError: `features` names no network; `batch_size` or `n_samples` is too small.
    """

    def __init__(
        self,
        features: str | nn.Module = "inception",
        mode: Mode = "legacy",
        batch_size: int = 50,
        n_samples: int | None = None,
        kid: bool = True,
        precision_recall: bool = True,
        pre_calc_stat_path: str | Path | None = None,
        features_name: str | None = None,
        weights: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(features, str) and features not in ("inception", "random"):
            raise ValueError(f"features = {features!r}; expected inception, random, or a network with encode")
        require(batch_size=(batch_size, 1))
        if n_samples is not None:
            require(n_samples=(n_samples, 2))
        self.features, self.features_name, self.mode, self.weights = features, features_name, mode, weights
        self.batch_size, self.n_samples, self.seed = batch_size, n_samples, seed
        self.kid, self.precision_recall = kid, precision_recall
        self.path = Path(pre_calc_stat_path) if pre_calc_stat_path else None
        self._extractor: Extractor | None = None

    @torch.no_grad()
    def __call__(self, iterator: Any, loader: Any, folder: Path) -> dict[str, float]:
        """Score an iterator that can sample; nothing is written to the folder.

        Raises:
            TypeError: the iterator cannot sample.
        """
        if not (hasattr(iterator, "sample_images") or hasattr(iterator, "sample_like")):
            raise TypeError(
                f"{type(iterator).__name__} has no sample_images and no sample_like, so it has no samples to score"
            )
        extractor, keep = self.extractor.to(iterator.device), self.kid or self.precision_recall
        real = reference(loader, extractor, self.path, self.batch_size, keep)
        images = self._sample(iterator, loader, self.n_samples or real.statistics.n)
        samples = measure(images, extractor, batch_size=self.batch_size, keep=keep)
        return compare(real, samples, extractor.name, self.kid, self.precision_recall)

    @property
    def extractor(self) -> Extractor:
        """The network that makes the features, built at its first use."""
        if self._extractor is None:
            self._extractor = self._build_extractor()
        return self._extractor

    def _build_extractor(self) -> Extractor:
        if isinstance(self.features, nn.Module):
            layer = getattr(self.features, "layer", None)
            default = type(self.features).__name__ + (f".{layer}" if layer else "")
            return LayerExtractor(self.features_name or default, self.features)
        if self.features == "random":
            return random_network(self.mode)
        try:
            return inception(self.mode, self.weights)
        except WeightsMissing as error:
            warnings.warn(f"{error}. Until then, scores are those of the random network", stacklevel=2)
            self.path = None  # the file named there is to hold Inception's
            return random_network(self.mode)

    def _sample(self, iterator: Any, loader: Any, n: int) -> Iterator[Tensor]:
        generator = torch.Generator(iterator.device).manual_seed(self.seed)
        if hasattr(iterator, "sample_like"):
            given = _given(loader, n)
            parts = (iterator.sample_like(images.to(iterator.device), generator) for images in given)
        else:
            sizes = [min(N_DRAWN, n - start) for start in range(0, n, N_DRAWN)]
            parts = (iterator.sample_images(size, generator) for size in sizes)
        with tqdm(total=n, desc="samples", unit="image", leave=False, disable=None) as progress:
            for images in parts:
                yield images
                progress.update(len(images))


def _given(loader: Iterable[dict[str, Tensor]], n: int) -> Iterator[Tensor]:
    """The images of a split, over and over until there are n, `N_DRAWN` at a time."""
    passes = chain.from_iterable(repeat(loader))
    images = islice((image for batch in passes for image in images_of(batch)), n)
    while some := list(islice(images, N_DRAWN)):
        yield torch.stack(some)


def scores(
    real: Iterable[Tensor],
    samples: Iterable[Tensor],
    extractor: Extractor,
    value_range: ValueRange = "[-1, 1]",
    batch_size: int = 50,
    kid: bool = True,
    precision_recall: bool = True,
) -> dict[str, float]:
    """Compare two sets of images.

    - `fid_…`: Fréchet distance of the features' Gaussians, see `frechet_distance`.
    - `kid_…`: kernel distance, unbiased, see `kernel_distance`.
    - `precision_…`, `recall_…`: part of the samples among the real images, and the reverse; see
      `precision_and_recall`. Left out, with a warning, where a set is too small for them.

    The name ends in the extractor's, since no two extractors' scores can be compared. Order and batches of
    the images make no difference.

    Args:
        real, samples: batches (B, C, H, W) or single images (C, H, W), with 1 or 3 channels, of any size.
        extractor: `inception()`, `random_network()` or a `LayerExtractor`.
        value_range: of both sets, see `ImageChecker`.
        batch_size: images the network sees at a time.
        kid, precision_recall: report them too.

    Raises:
        ValueError: an empty set, broken images (says how many), values that are not what is declared.
    """
    keep = kid or precision_recall
    both = [measure(images, extractor, value_range, batch_size, keep) for images in (real, samples)]
    return compare(both[0], both[1], extractor.name, kid, precision_recall)


def compare(
    real: FeatureSet, samples: FeatureSet, name: str, kid: bool = True, precision_recall: bool = True
) -> dict[str, float]:
    """The scores of two sets that have been measured, under names that end in `name`."""
    n, n_features = min(real.statistics.n, samples.statistics.n), len(real.statistics.mean)
    if n < n_features:
        warnings.warn(
            f"fid_{name}: {n} images for {n_features} features; the score is larger than it would be with "
            "many images, and compares only with scores from as many",
            stacklevel=2,
        )
    result = {f"fid_{name}": real.statistics.distance(samples.statistics)}
    if kid:
        result[f"kid_{name}"] = kernel_distance(real.features, samples.features)
    if precision_recall and n <= NEIGHBOURS:
        warnings.warn(
            f"precision_{name}, recall_{name}: left out, since they need more than {NEIGHBOURS} images, not {n}",
            stacklevel=2,
        )
    elif precision_recall:
        precision, recall = precision_and_recall(real.features, samples.features)
        result |= {f"precision_{name}": precision, f"recall_{name}": recall}
    return result
