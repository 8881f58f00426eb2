"""Distance of a set of samples to a set of real images: Fréchet and kernel distances, precision and recall."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice, repeat
from pathlib import Path
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from tqdm import tqdm

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, CanReconstruct, CanSample, CanSampleLike, Evaluation
from invariances.evaluation.metrics.fid.embeddings import clip, dinov2
from invariances.evaluation.metrics.fid.extractors import Extractor, LayerExtractor, Mode, random_network
from invariances.evaluation.metrics.fid.halves import halves
from invariances.evaluation.metrics.fid.inception import WeightsMissing, inception
from invariances.evaluation.metrics.fid.intervals import frechet_half_width, precision_recall_half_widths
from invariances.evaluation.metrics.fid.kernel_distance import cmmd, kernel_estimate
from invariances.evaluation.metrics.fid.precision_recall import NEIGHBOURS, precision_and_recall
from invariances.evaluation.metrics.fid.reference import FeatureSet, images_of, measure, reference
from invariances.evaluation.metrics.fid.value_range import ValueRange
from invariances.utils.arguments import require_at_least
from invariances.utils.files import half_path

log = logging.getLogger(__name__)

N_SAMPLED = 50  # samples at a time: fixed, so that scores do not depend on `batch_size`
NAMES = ("inception", "dinov2", "clip", "random")
INCEPTIONS = {"Inception3", "GoogLeNet", "InceptionV3", "InceptionV4", "FeatureExtractorInceptionV3"}

Distance: TypeAlias = Callable[[FeatureSet, FeatureSet], tuple[float, float | None]]  # the value, half its interval


class FID(Evaluation[CanSample | CanSampleLike]):
    """Scores of a model's samples against the validation split: see `scores`.

    Samples come from `iterator.sample_images(n, generator)`, and are compared with the whole split. Those of a
    conditional model come from `iterator.sample_like(images, generator)` with the images of a random half of the split,
    in several passes if more are needed, and are compared with the other half: see `halves`. `n_real_…` and
    `n_samples_…` are the numbers of images: scores of other numbers do not compare.

    Where the task can reconstruct images, `reconstruction_fid_…` is the distance of the reconstructions of these images
    from the images, a limit of what samples of the same decoder can reach.

    Features of the real images are computed once and kept in a file, see `reference`. Where the weights of a named
    network are missing, it warns and uses the random network; the names of the scores tell which.

    Args:
        features: `inception`, `dinov2` (gives `fd_dinov2`), `clip` (gives `cmmd_clip`), `random`, or a network with
            `encode`, such as a `Greybox`.
        mode: of resizing for Inception and the random network: `legacy`, as published FIDs, or `clean`.
        batch_size: images the network sees at a time.
        n_samples: number of samples; by default that of the real images.
        kid, precision_recall: compute them too; all features stay in memory for that. Intervals of the Fréchet
            distance need one of them.
        reconstructions: score them too.
        pre_calc_stat_path: file of the real images' statistics, written if it is not there; by default in the cache.
            For a conditional model, `_half_<seed>` is added to its name. A file with `mu` and `sigma` alone will do.
        features_name: name of a network, part of the scores' names; its class and layer by default.
        weights: a file with the weights of `inception`, `dinov2` or `clip`; by default the published one.
        seed: of the samples, and of the halves.

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
        ...     scores = fid(Gaussian(), batches, Path(folder))
        >>> [name for name in scores if not name.endswith("_ci")]
        ['n_real_Pixels', 'n_samples_Pixels', 'fid_Pixels', 'kid_Pixels', 'precision_Pixels', 'recall_Pixels']
    """

    needs = CanSample | CanSampleLike
    legend: ClassVar[Mapping[str, str]] = {
        "fid_*": "Fréchet distance between samples and real images in the features of a network. 0: no difference, but "
        "two sets of real images score above 0, the more the fewer images there are. Scores compare only for the same "
        "features, which the name tells, and the same numbers of images. The samples of a conditional model belong to "
        "one half of the images and are compared with the other half.",
        "fd_*": "Fréchet distance between samples and real images in the features of DINOv2, a network trained without "
        "labels; otherwise as FID.",
        "reconstruction_*": "Fréchet distance between the reconstructions of the real images and these images, in the "
        "features of a network; otherwise as that of samples. 0: no difference.",
        "kid_*": "Kernel distance between samples and real images in the features of a network. 0: no difference, at "
        "any number of images; it may be below 0 by chance.",
        "cmmd_*": "Kernel distance (× 1000) between samples and real images in the embeddings of CLIP. 0: no "
        "difference, at any number of images; it may be below 0 by chance.",
        "precision_*": "Share of the samples that lie among the real images in the features of a network. Two sets of "
        "real images score below 1.",
        "recall_*": "Share of the real images that lie among the samples in the features of a network. Two sets of "
        "real images score below 1.",
        "n_real_*": "Number of real images that the samples are compared with as a set. For a conditional model, those "
        "of the half of the split that no sample is conditioned on.",
        "n_samples_*": "Number of samples that are compared with the real images as a set.",
    }

    def __init__(
        self,
        features: str | nn.Module = "inception",
        mode: Mode = "legacy",
        batch_size: int = 50,
        n_samples: int | None = None,
        kid: bool = True,
        precision_recall: bool = True,
        reconstructions: bool = True,
        pre_calc_stat_path: str | Path | None = None,
        features_name: str | None = None,
        weights: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(features, str) and features not in NAMES:
            raise InvalidInput(f"features is {features!r}; expected {', '.join(NAMES)}, or a network with encode")
        require_at_least(batch_size=(batch_size, 1))
        if n_samples is not None:
            require_at_least(n_samples=(n_samples, 2))
        self.features, self.features_name, self.mode, self.weights = features, features_name, mode, weights
        self.batch_size, self.n_samples, self.seed = batch_size, n_samples, seed
        self.kid, self.precision_recall, self.reconstructions = kid, precision_recall, reconstructions
        self.path = Path(pre_calc_stat_path) if pre_calc_stat_path else None
        self._extractor: Extractor | None = None

    @torch.no_grad()
    def __call__(self, iterator: CanSample | CanSampleLike, loader: Batches, folder: Path) -> dict[str, float]:
        """Score an iterator that can sample; nothing is written to the folder.

        Raises:
            TypeError: the iterator cannot sample.
            InvalidInput: the network under study is an Inception, and its features are those of the scores.
        """
        if not (hasattr(iterator, "sample_images") or hasattr(iterator, "sample_like")):
            raise TypeError(
                f"{type(iterator).__name__} has no sample_images and no sample_like; expected one of them"
            )
        self._refuse_circle(iterator)
        extractor = self.extractor.to(iterator.device)
        keep = self.kid or self.precision_recall or "cmmd" in extractor.distances
        given, real_images, path = loader, loader, self.path
        if hasattr(iterator, "sample_like"):
            given, real_images = halves(loader, self.seed)
            path = path and half_path(path, self.seed)
        real = reference(real_images, extractor, path, self.batch_size, keep)
        images = self._sample(iterator, given, self.n_samples or real.statistics.n)
        samples = measure(images, extractor, batch_size=self.batch_size, keep=keep)
        log.info("%s: %d samples and %d real images", extractor.name, samples.statistics.n, real.statistics.n)
        found = compare(real, samples, extractor.name, self.kid, self.precision_recall, extractor.distances)
        return found | self._reconstruction(iterator, real_images, real, extractor)

    def _reconstruction(
        self, iterator: object, loader: Batches, real: FeatureSet, extractor: Extractor
    ) -> dict[str, float]:
        """Fréchet distance of the reconstructions, if the task has some; without interval, as the sets are paired."""
        kinds = {"fid", "fd"} & set(extractor.distances)
        if not (self.reconstructions and kinds and isinstance(iterator, CanReconstruct)):
            return {}
        images = (iterator.reconstruct(images_of(batch).to(iterator.device)) for batch in loader)
        made = measure(images, extractor, batch_size=self.batch_size, keep=False)
        return {f"reconstruction_{kind}_{extractor.name}": real.statistics.distance(made.statistics) for kind in kinds}

    def _refuse_circle(self, iterator: object) -> None:
        """Samples that agree with a network in its features are close in these by construction."""
        greybox = getattr(iterator, "greybox", None)
        studied = getattr(greybox, "network", None)
        if self.features != "inception" or not isinstance(studied, nn.Module):
            return
        if found := {type(module).__name__ for module in studied.modules()} & INCEPTIONS:
            raise InvalidInput(
                f"the network under study is an Inception ({', '.join(sorted(found))}), and features is inception: "
                "samples that share its features would score well whatever they show; use dinov2, clip or random"
            )

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
            return self._named()
        except WeightsMissing as error:
            warnings.warn(f"{error}. Until then, scores are those of the random network", stacklevel=2)
            self.path = None  # that file is for the statistics of the other network
            return random_network(self.mode)

    def _named(self) -> Extractor:
        if self.features == "inception":
            return inception(self.mode, self.weights)
        return (clip if self.features == "clip" else dinov2)(self.weights)

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

    - `fid_…`: Fréchet distance of the features' Gaussians, see `frechet_distance`; `fd_dinov2` for DINOv2.
    - `kid_…`: kernel distance, unbiased, see `kernel_distance`.
    - `cmmd_clip`, in place of both, for the embeddings of CLIP: see `cmmd`.
    - `precision_…`, `recall_…`: share of the samples among the real images, and the reverse; see
      `precision_and_recall`. Left out, with a warning, where a set is too small for them.
    - `<name>_ci`: half the 95 % confidence interval over the images, see `frechet_half_width`, `kernel_estimate`,
      `precision_recall_half_widths`. Left out where it would take too long.
    - `n_real_…`, `n_samples_…`: the numbers of images.

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
    keep = kid or precision_recall or "cmmd" in extractor.distances
    sets = [measure(images, extractor, value_range, batch_size, keep) for images in (real, samples)]
    return compare(sets[0], sets[1], extractor.name, kid, precision_recall, extractor.distances)


def _frechet(real: FeatureSet, samples: FeatureSet) -> tuple[float, float | None]:
    value = real.statistics.distance(samples.statistics)
    kept = len(real.features) and len(samples.features)
    return value, frechet_half_width(real.features, samples.features) if kept else None


DISTANCES: dict[str, Distance] = {
    "fid": _frechet,
    "fd": _frechet,
    "kid": lambda real, samples: kernel_estimate(real.features, samples.features),
    "cmmd": lambda real, samples: cmmd(real.features, samples.features),
}


def compare(
    real: FeatureSet,
    samples: FeatureSet,
    name: str,
    kid: bool = True,
    precision_recall: bool = True,
    distances: Iterable[str] = ("fid", "kid"),
) -> dict[str, float]:
    """The scores of two sets of features, see `scores`; the names end in `name`.

    Args:
        real, samples: features. Of real images that nothing is known of, only the Fréchet distance is computed.
        name: of the network.
        kid, precision_recall: compute them too.
        distances: those that fit the network: `fid`, `fd`, `kid`, `cmmd`.

    Raises:
        InvalidInput: the sets have different numbers of features.

    Example:
        >>> from invariances.evaluation.metrics.fid.frechet import FeatureStatistics
        >>> rows = torch.arange(8.0).reshape(8, 1)
        >>> statistics = FeatureStatistics()
        >>> statistics.update(rows)
        >>> found = compare(FeatureSet(statistics, rows), FeatureSet(statistics, rows), "rows", kid=False)
        >>> {name: value for name, value in found.items() if not name.endswith("_ci")}
        {'n_real_rows': 8.0, 'n_samples_rows': 8.0, 'fid_rows': 0.0, 'precision_rows': 1.0, 'recall_rows': 1.0}
    """
    widths = [len(each.statistics.mean) for each in (real, samples)]
    if widths[0] != widths[1]:
        raise InvalidInput(
            f"the statistics of the real images have {widths[0]} features, those of the samples {widths[1]}; delete "
            "the file of statistics, which is of another network"
        )
    chosen = [distance for distance in distances if kid or distance != "kid"]
    if real.released:
        chosen, precision_recall = [distance for distance in chosen if distance in ("fid", "fd")], False
    _warn_of_bias(real, samples, name, chosen)
    result = {} if real.released else {f"n_real_{name}": float(real.statistics.n)}
    result[f"n_samples_{name}"] = float(samples.statistics.n)
    for distance in chosen:
        result |= _entries(f"{distance}_{name}", *DISTANCES[distance](real, samples))
    return result | (_precision_recall(real, samples, name) if precision_recall else {})


def _entries(name: str, value: float, half_width: float | None) -> dict[str, float]:
    return {name: value} | ({} if half_width is None else {f"{name}_ci": half_width})


def _warn_of_bias(real: FeatureSet, samples: FeatureSet, name: str, distances: Iterable[str]) -> None:
    n, n_features = min(real.statistics.n, samples.statistics.n), len(real.statistics.mean)
    for distance in {"fid", "fd"} & set(distances) if n < n_features else ():
        warnings.warn(
            f"{distance}_{name}: {n} images for {n_features} features; the score is larger than it would be with "
            "many images; compare it only with scores of as many images",
            stacklevel=3,
        )


def _precision_recall(real: FeatureSet, samples: FeatureSet, name: str) -> dict[str, float]:
    names = [f"precision_{name}", f"recall_{name}"]
    n = min(real.statistics.n, samples.statistics.n)
    if n <= NEIGHBOURS:
        message = f"{', '.join(names)}: left out; expected more than {NEIGHBOURS} images, not {n}"
        warnings.warn(message, stacklevel=3)
        return {}
    shares = precision_and_recall(real.features, samples.features)
    half_widths = precision_recall_half_widths(real.features, samples.features) or (None, None)
    precision, recall = (_entries(*each) for each in zip(names, shares, half_widths, strict=True))
    return precision | recall
