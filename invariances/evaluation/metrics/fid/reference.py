"""Statistics of the real images that samples are compared with, computed once and kept in a file with a key."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from invariances.data.base import Batch
from invariances.data.unpairing import unpaired
from invariances.errors import InvalidInput, UserError
from invariances.evaluation.base import Batches
from invariances.evaluation.metrics.fid.extractors import Extractor
from invariances.evaluation.metrics.fid.frechet import FeatureStatistics
from invariances.evaluation.metrics.fid.value_range import ImageChecker, ValueRange
from invariances.utils.arguments import require_at_least
from invariances.utils.files import atomic_write, cache_root, locked, require_file, require_unpacked_size
from invariances.utils.images import to_uint8

log = logging.getLogger(__name__)

Key: TypeAlias = dict[str, object]
Arrays: TypeAlias = dict[str, np.ndarray]  # type: ignore[explicit-any]  # numpy spells "of any dtype" as Any
MOST_BYTES = 10**10  # of a file of statistics, unpacked
REMEDY = "use another file name, or delete this file and run again"
DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)  # of reading an .npz file


@dataclass(frozen=True)
class FeatureSet:
    """Features of a set of images, and their statistics.

    Attributes:
        statistics: number, mean and covariance of their features.
        features: the features, (n, D) float32, where pairs of images are compared; else (0, D).
        released: whether they come from a file of mean and covariance alone, and nothing is known of the images; `n` of
            the statistics is then that of the split which they stand for.

    Example:
        >>> from invariances.evaluation.metrics.fid.extractors import random_network
        >>> found = measure([torch.zeros(4, 3, 16, 16)], random_network())
        >>> found.statistics.n, found.features.shape
        (4, torch.Size([4, 512]))
    """

    statistics: FeatureStatistics
    features: Tensor
    released: bool = False


@torch.no_grad()
def measure(
    images: Iterable[Tensor],
    extractor: Extractor,
    value_range: ValueRange = "[-1, 1]",
    batch_size: int = 50,
    keep: bool = True,
) -> FeatureSet:
    """Compute the features of a set of images, in one pass.

    Args:
        images: batches (B, C, H, W) or single images (C, H, W); sizes may differ from one to the next.
        extractor: of the features.
        value_range: of the images, see `ImageChecker`.
        batch_size: images the network sees at a time; it makes no difference to the result.
        keep: keep the features, n·D·4 bytes; memory does not grow with n otherwise.

    Raises:
        InvalidInput: see `ImageChecker`; features that are not finite; a batch size below 1.

    Example:
        >>> from invariances.evaluation.metrics.fid.extractors import random_network
        >>> measure([torch.zeros(4, 1, 8, 8), torch.zeros(3, 16, 16)], random_network(), keep=False).statistics.n
        5
    """
    require_at_least(batch_size=(batch_size, 1))
    checker, statistics, kept = ImageChecker(value_range), FeatureStatistics(), []
    for part in _parts(images, batch_size):
        pixels = checker(part)
        if checker.n_broken:
            continue  # `close` refuses the set, when the number of broken images is known
        features = extractor(pixels).cpu()
        statistics.update(features)
        kept.append(features[: None if keep else 0])
    checker.close()
    return FeatureSet(statistics, torch.cat(kept))


def _parts(images: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    for batch in images:
        batch = batch if batch.ndim == 4 else batch.unsqueeze(0)
        yield from (part for part in batch.split(batch_size) if len(part))


def reference(
    loader: Batches, extractor: Extractor, path: Path | None = None, batch_size: int = 50, keep: bool = True
) -> FeatureSet:
    """The features of a loader's images, read from a file if they were computed before.

    A file with `mu` and `sigma` alone, as published ones are, is taken with a warning, and the loader's images are not
    looked at.

    Args:
        loader: batches with `image` in [-1, 1], each example once; its `dataset`, if any, is named in the file.
        extractor, batch_size, keep: see `measure`.
        path: of the file; by default one in the cache folder, whose name depends on the key.

    Raises:
        InvalidInput: fewer than two images.
        UserError: the file is damaged, or of another key: names each entry that differs, with both values.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from invariances.evaluation.metrics.fid.extractors import random_network
        >>> batches = [{"image": torch.zeros(4, 3, 8, 8)}]
        >>> with TemporaryDirectory() as folder:
        ...     reference(batches, random_network(), Path(folder, "zeros.npz")).statistics.n
        4
    """
    if path is not None and path.exists() and (moments := _released(path)):
        n = sum(len(images) for images in _images(loader))
        return _from_moments(path, n, *moments)
    key = reference_key(loader, extractor, keep)
    if (count := int(str(key["count"]))) < 2:
        where = getattr(getattr(loader, "dataset", loader), "folder", None)
        raise InvalidInput(f"{where or key['dataset']}: {count} picture(s) found; statistics need at least 2")
    if path is not None and path.exists():  # it may be someone else's: nothing is written beside it
        return _load(path, key)
    path = path or cache_root() / "fid" / f"{_digest(json.dumps(key).encode())}.npz"
    with locked(path):
        with suppress(FileNotFoundError), _rebuilt_if_damaged(path):
            return _load(path, key)
        _save(path, key, measure(_images(loader), extractor, batch_size=batch_size, keep=keep))
        log.info("wrote the reference statistics %s", path)
        return _load(path, key)


def _released(path: Path) -> tuple[np.ndarray, np.ndarray] | None:  # type: ignore[explicit-any]  # see `Arrays`
    """The mean and covariance of a file that holds nothing else; None for any other file."""
    try:
        require_file(path)
        with np.load(path, allow_pickle=False) as file:
            return (file["mu"], file["sigma"]) if set(file) == {"mu", "sigma"} else None
    except (*DAMAGED, AttributeError, TypeError):  # told when the file is read as one with a key
        return None


def _from_moments(path: Path, n: int, mean: np.ndarray, cov: np.ndarray) -> FeatureSet:  # type: ignore[explicit-any]
    try:
        statistics = FeatureStatistics.from_moments(n, mean, cov)
    except InvalidInput as error:
        raise UserError(f"{path}: cannot be read as reference statistics ({error}); {REMEDY}") from error
    warnings.warn(
        f"{path} holds mu and sigma alone: nothing in it says which images and which network they are of; KID, "
        "precision and recall, which need the images' features, are left out",
        stacklevel=3,
    )
    return FeatureSet(statistics, torch.empty(0, len(statistics.mean)), released=True)
@contextmanager
def _rebuilt_if_damaged(path: Path) -> Iterator[None]:
    """Go on after a file in the cache that cannot be read, or is of something else; it is written anew."""
    try:
        yield
    except UserError as error:
        log.warning("%s; it is computed again", str(error).removesuffix(f"; {REMEDY}"))


def reference_key(loader: Batches, extractor: Extractor, keep: bool) -> Key:
    """The key of reference statistics: everything they depend on.

    `pictures` is a hash of all images, independent of their order and batches. The images come from the loader, not
    from its data set, whose images may depend on the epoch, which the loader sets; a pass costs less than the samples
    of one score. Both images of a pair count.
    """
    dataset = getattr(loader, "dataset", loader)
    digests: list[str] = []
    size: list[int] = []
    for images in _images(loader):
        size = list(images.shape[1:])
        digests += [_digest(picture.tobytes()) for picture in to_uint8(images).numpy()]
    return {
        "dataset": _name(dataset),
        "split": getattr(dataset, "split", None),
        "count": len(digests),
        "size": size,
        "pictures": _digest("".join(sorted(digests)).encode()),
        "transform": extractor.transform,
        "extractor": extractor.fingerprint(),
        "features": keep,
    }


def _name(dataset: object) -> str:
    """The class of a data set, and that of the data set it is a subset of."""
    name = type(dataset).__qualname__
    return f"{name}({_name(dataset.dataset)})" if hasattr(dataset, "dataset") else name


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def images_of(batch: Batch) -> Tensor:
    """The images of a batch, both of each pair.

    Raises:
        InvalidInput: it has none.
    """
    found = unpaired(batch)
    if "image" not in found:
        raise InvalidInput(f"batches hold {', '.join(batch)}; expected image, which FID needs")
    return found["image"]


def _images(loader: Batches) -> Iterator[Tensor]:
    return map(images_of, tqdm(loader, desc="reference images", unit="batch", leave=False, disable=None))


def _save(path: Path, key: Key, measured: FeatureSet) -> None:
    statistics = measured.statistics
    with atomic_write(path) as part, part.open("wb") as file:
        np.savez(
            file,
            key=np.array(json.dumps(key)),
            n=np.array(statistics.n),
            mean=statistics.mean.numpy(),
            cov=statistics.cov.numpy(),
            features=measured.features.numpy(),
        )


def _load(path: Path, key: Key) -> FeatureSet:
    try:
        arrays = _read(path)
        _check_key(path, json.loads(str(arrays["key"])), key)
        _check_arrays(arrays, key)
        statistics = FeatureStatistics.from_moments(int(arrays["n"]), arrays["mean"], arrays["cov"])
        return FeatureSet(statistics, torch.from_numpy(arrays["features"]))
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as reference statistics ({error}); {REMEDY}") from error


def _read(path: Path) -> Arrays:
    require_file(path)  # others would be waited for, or have no end
    if zipfile.is_zipfile(path):
        require_unpacked_size(path, MOST_BYTES)
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        raise ValueError("it is a single array; expected an archive of several, .npz")
    with loaded as file:
        arrays = {name: value for name, value in file.items() if isinstance(value, np.ndarray)}
    if missing := {"key", "n", "mean", "cov", "features"} - arrays.keys():
        raise ValueError(
            f"it holds {', '.join(arrays)} but not {', '.join(sorted(missing))}; expected all of them"
        )
    return arrays


def _check_key(path: Path, found: object, expected: Key) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"its key is a {type(found).__name__}; expected a mapping")
    differences = [
        f"{name} is {found.get(name)!r}, expected {value!r}"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    if differences:
        raise UserError(
            f"{path}: these reference statistics have another key ({'; '.join(differences)}); {REMEDY}"
        )


def _check_arrays(arrays: Arrays, key: Key) -> None:
    """Refuse arrays that do not fit the key."""
    n, n_features = key["count"], arrays["mean"].size
    shapes = {
        "n": (),
        "mean": (n_features,),
        "cov": (n_features, n_features),
        "features": (n if key["features"] else 0, n_features),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}; expected {shape}")
        if arrays[name].dtype.kind not in "fiu" or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} holds values that are no finite numbers")
    if arrays["n"] != n:
        raise ValueError(f"n is {arrays['n']}; expected {n}, the count of its key")
