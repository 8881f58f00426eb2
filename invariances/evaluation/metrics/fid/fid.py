"""Distance of a set of samples to a set of real images: Fréchet and kernel distance, precision and recall."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice, repeat
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, CanSample, CanSampleLike, Evaluation
from invariances.evaluation.metrics.fid.extractors import Extractor, LayerExtractor, Mode, random_network
from invariances.evaluation.metrics.fid.inception import WeightsMissing, inception
from invariances.evaluation.metrics.fid.kernel_distance import kernel_distance
from invariances.evaluation.metrics.fid.precision_recall import NEIGHBOURS, precision_and_recall
from invariances.evaluation.metrics.fid.reference import FeatureSet, images_of, measure, reference
from invariances.evaluation.metrics.fid.value_range import ValueRange
from invariances.utils.arguments import require_at_least

N_SAMPLED = 50  # samples at a time: fixed, so that scores do not depend on `batch_size`


class FID(Evaluation[CanSample | CanSampleLike]):
    """Scores of a model's samples against the validation split: see `scores`.

    Samples come from `iterator.sample_images(n, generator)`; those of a conditional model from
    `iterator.sample_like(images, generator)`, one for each image of the split, in several passes if more are needed.
    Features of the split are computed once and kept in a file, see `reference`. Where the weights of Inception are
    missing, it warns and uses the random network; the names of the scores tell which.

    Args:
        features: `inception`, `random`, or a network with `encode`, such as a `Greybox`.
        mode: of resizing: `legacy`, as published FIDs, or `clean`.
        batch_size: images the network sees at a time.
        n_samples: number of samples; by default that of the real images.
        kid, precision_recall: compute them too; all features stay in memory for that.
        pre_calc_stat_path: file of the split's statistics, written if it is not there; by default in the cache.
        features_name: name of a network, part of the scores' names; its class and layer by default.
        weights: a file with Inception's weights; by default the published one.
        seed: of the samples.

    Raises:
        InvalidInput: `features` names no network; `batch_size` or `n_samples` is too small.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> class Pixels(nn.Module):
        ...     def encode(self, x): return x.flatten(1)
        >>> class Gaussian:
        ...     device = torch.device("cpu")
        ...     def sample_images(self, n, generator):
        ...         return torch.randn(n, 1, 2, 2, generator=generator).clamp(-1, 1)
        >>> batches = [{"image": torch.zeros(9, 1, 2, 2)}]
        >>> with TemporaryDirectory() as folder:
        ...     fid = FID(Pixels(), pre_calc_stat_path=f"{folder}/zeros.npz")
        ...     sorted(fid(Gaussian(), batches, Path(folder)))
        ['fid_Pixels', 'kid_Pixels', 'precision_Pixels', 'recall_Pixels']
    """

    needs = CanSample | CanSampleLike
    legend: ClassVar[Mapping[str, str]] = {
        "fid_*": "Fréchet distance between samples and real images in the features of a network. 0: no difference. "
        "Scores compare only for the same features, which the name tells.",
        "kid_*": "Kernel distance between samples and real images in the features of a network. 0: no difference.",
        "precision_*": "Share of the samples that lie among the real images in the features of a network.",
        "recall_*": "Share of the real images that lie among the samples in the features of a network.",
    }

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
            raise InvalidInput(f"features is {features!r}; expected inception, random, or a network with encode")
        require_at_least(batch_size=(batch_size, 1))
        if n_samples is not None:
            require_at_least(n_samples=(n_samples, 2))
        self.features, self.features_name, self.mode, self.weights = features, features_name, mode, weights
        self.batch_size, self.n_samples, self.seed = batch_size, n_samples, seed
        self.kid, self.precision_recall = kid, precision_recall
        self.path = Path(pre_calc_stat_path) if pre_calc_stat_path else None
        self._extractor: Extractor | None = None

    @torch.no_grad()
    def __call__(self, iterator: CanSample | CanSampleLike, loader: Batches, folder: Path) -> dict[str, float]:
        """Score an iterator that can sample; nothing is written to the folder.

        Raises:
            TypeError: the iterator cannot sample.
        """
        if not (hasattr(iterator, "sample_images") or hasattr(iterator, "sample_like")):
            raise TypeError(
                f"{type(iterator).__name__} has no sample_images and no sample_like; expected one of them"
            )
        extractor, keep = self.extractor.to(iterator.device), self.kid or self.precision_recall
        real = reference(loader, extractor, self.path, self.batch_size, keep)
        images = self._sample(iterator, loader, self.n_samples or real.statistics.n)
        samples = measure(images, extractor, batch_size=self.batch_size, keep=keep)
        return compare(real, samples, extractor.name, self.kid, self.precision_recall)

    @property
    def extractor(self) -> Extractor:
        """The network that computes the features, built at its first use."""
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
            self.path = None  # that file is for the statistics of Inception
            return random_network(self.mode)

    def _sample(self, iterator: CanSample | CanSampleLike, loader: Batches, n: int) -> Iterator[Tensor]:
        generator = torch.Generator(iterator.device).manual_seed(self.seed)
        if hasattr(iterator, "sample_like"):
            conditions = _repeated(loader, n)
            parts = (iterator.sample_like(images.to(iterator.device), generator) for images in conditions)
        else:
            sizes = [min(N_SAMPLED, n - start) for start in range(0, n, N_SAMPLED)]
            parts = (iterator.sample_images(size, generator) for size in sizes)
        with tqdm(total=n, desc="samples", unit="image", leave=False, disable=None) as progress:
            for images in parts:
                yield images
                progress.update(len(images))


def _repeated(loader: Batches, n: int) -> Iterator[Tensor]:
    """The first n images of a split, in several passes if it has fewer, `N_SAMPLED` at a time."""
    passes = chain.from_iterable(repeat(loader))
    images = islice((image for batch in passes for image in images_of(batch)), n)
    while some := list(islice(images, N_SAMPLED)):
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
    - `precision_…`, `recall_…`: share of the samples among the real images, and the reverse; see
      `precision_and_recall`. Left out, with a warning, where a set is too small for them.

    The names end in that of the extractor, since scores of different extractors cannot be compared. Order and
    batches of the images make no difference.

    Args:
        real, samples: batches (B, C, H, W) or single images (C, H, W), with 1 or 3 channels, of any size.
        extractor: `inception()`, `random_network()` or a `LayerExtractor`.
        value_range: of both sets, see `ImageChecker`.
        batch_size: images the network sees at a time.
        kid, precision_recall: compute them too.

    Raises:
        InvalidInput: an empty set, images with NaN or infinite values (says how many), values outside the range.

    Example:
        >>> from invariances.evaluation.metrics.fid.extractors import PictureExtractor
        >>> pixels = torch.arange(8).to(torch.uint8).reshape(8, 1, 1, 1)
        >>> extractor = PictureExtractor("pixels", nn.Flatten(), size=1)
        >>> found = scores([pixels], [pixels], extractor, "uint8")
        >>> round(found["fid_pixels"], 6), found["precision_pixels"]
        (0.0, 1.0)
    """
    keep = kid or precision_recall
    sets = [measure(images, extractor, value_range, batch_size, keep) for images in (real, samples)]
    return compare(sets[0], sets[1], extractor.name, kid, precision_recall)


def compare(
    real: FeatureSet, samples: FeatureSet, name: str, kid: bool = True, precision_recall: bool = True
) -> dict[str, float]:
    """The scores of two sets of features, see `scores`; the names end in `name`.

    Example:
        >>> from invariances.evaluation.metrics.fid.frechet import FeatureStatistics
        >>> rows = torch.arange(8.0).reshape(8, 1)
        >>> statistics = FeatureStatistics()
        >>> statistics.update(rows)
        >>> compare(FeatureSet(statistics, rows), FeatureSet(statistics, rows), "rows", kid=False)
        {'fid_rows': 0.0, 'precision_rows': 1.0, 'recall_rows': 1.0}
    """
    n, n_features = min(real.statistics.n, samples.statistics.n), len(real.statistics.mean)
    if n < n_features:
        warnings.warn(
            f"fid_{name}: {n} images for {n_features} features; the score is larger than it would be with "
            "many images; compare it only with scores of as many images",
            stacklevel=2,
        )
    result = {f"fid_{name}": real.statistics.distance(samples.statistics)}
    if kid:
        result[f"kid_{name}"] = kernel_distance(real.features, samples.features)
    if precision_recall and n <= NEIGHBOURS:
        warnings.warn(
            f"precision_{name}, recall_{name}: left out; expected more than {NEIGHBOURS} images, not {n}",
            stacklevel=2,
        )
    elif precision_recall:
        precision, recall = precision_and_recall(real.features, samples.features)
        result |= {f"precision_{name}": precision, f"recall_{name}": recall}
    return result
