"""The real images that samples are compared with: measured once, kept in a file that says what it is of."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from invariances.data.pairs import unpaired
from invariances.data.places import cache_root, locked, replacing
from invariances.errors import UserError
from invariances.evaluation.door import Door, ValueRange
from invariances.evaluation.features import Extractor
from invariances.evaluation.frechet import FeatureStatistics
from invariances.images import to_uint8

log = logging.getLogger(__name__)

Key = dict[str, Any]
REMEDY = "name another file, or delete this one to have it computed anew"
N_PICTURES = 8  # of a data set go into its key


@dataclass(frozen=True)
class FeatureSet:
    """What is known of a set of images.

    Attributes:
        statistics: number, mean and covariance of their features.
        features: the features themselves, (n, D) float32, where pairs of images are compared; else (0, D).
    """

    statistics: FeatureStatistics
    features: Tensor


@torch.no_grad()
def measure(
    images: Iterable[Tensor],
    extractor: Extractor,
    value_range: ValueRange = "[-1, 1]",
    batch_size: int = 50,
    keep: bool = True,
) -> FeatureSet:
    """Features of a set of images, in one pass.

    Args:
        images: batches (B, C, H, W) or single images (C, H, W); sizes may differ from one to the next.
        extractor: of the features.
        value_range: of the images, see `Door`.
        batch_size: images the network sees at a time; it makes no difference to the result.
        keep: keep the features, n·D·4 bytes; memory does not grow with n otherwise.

    Raises:
        ValueError: what `Door` refuses; features that are not finite.
    """
    door, statistics, kept = Door(value_range), FeatureStatistics(), []
    for part in _parts(images, batch_size):
        pixels = door(part)
        if door.n_broken:
            continue  # the set is refused at its end, when it is known how many images are broken
        features = extractor(pixels).cpu()
        statistics.update(features)
        kept.append(features[: None if keep else 0])
    door.close()
    return FeatureSet(statistics, torch.cat(kept))


def _parts(images: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    for batch in images:
        batch = batch if batch.ndim == 4 else batch.unsqueeze(0)
        yield from (part for part in batch.split(batch_size) if len(part))


def reference(
    loader: Any, extractor: Extractor, path: Path | None = None, batch_size: int = 50, keep: bool = True
) -> FeatureSet:
    """The images of a loader, read from a file if they were measured before.

    Args:
        loader: has a `dataset` and gives batches with `image` in [-1, 1], each example once.
        extractor, batch_size, keep: see `measure`.
        path: of the file; without it one in the cache folder that no other key has.

    Raises:
        UserError: the file holds something else: names each entry of the key that differs, with both values.
    """
    key = reference_key(loader.dataset, extractor, keep)
    path = path or cache_root() / "fid" / f"{_digest(json.dumps(key).encode())}.npz"
    with locked(path):
        if not path.exists():
            images = _images(loader, key["count"])
            _save(path, key, measure(images, extractor, batch_size=batch_size, keep=keep))
            log.info("wrote the reference statistics %s", path)
        return _load(path, key)


def reference_key(dataset: Any, extractor: Extractor, keep: bool) -> Key:
    """What reference statistics depend on; `pictures` is a hash of a few images spread over the data set.

    Both images of a pair count.
    """
    places = np.linspace(0, len(dataset) - 1, N_PICTURES).astype(int).tolist()
    pictures = images_of(default_collate([dataset[place] for place in places]))
    return {
        "dataset": _name(dataset),
        "split": getattr(dataset, "split", None),
        "count": len(dataset) * len(pictures) // len(places),
        "size": list(pictures.shape[1:]),
        "pictures": _digest(to_uint8(pictures).numpy().tobytes()),
        "transform": extractor.transform,
        "extractor": extractor.fingerprint(),
        "features": keep,
    }


def _name(dataset: Any) -> str:
    """The class of a data set, and of the one it is a part of."""
    name = type(dataset).__qualname__
    return f"{name}({_name(dataset.dataset)})" if hasattr(dataset, "dataset") else name


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def images_of(batch: dict[str, Tensor]) -> Tensor:
    """The images of a batch, both of each pair.

    Raises:
        ValueError: it has none.
    """
    found = unpaired(batch)
    if "image" not in found:
        raise ValueError(f"batches hold {', '.join(batch)}; FID needs image")
    return found["image"]


def _images(loader: Any, n_images: int) -> Iterator[Tensor]:
    with tqdm(total=n_images, desc="reference images", unit="image", leave=False, disable=None) as progress:
        for images in map(images_of, loader):
            yield images
            progress.update(len(images))


def _save(path: Path, key: Key, measured: FeatureSet) -> None:
    statistics = measured.statistics
    arrays: dict[str, Any] = {
        "key": np.array(json.dumps(key)),
        "n": np.array(statistics.n),
        "mean": statistics.mean.numpy(),
        "cov": statistics.cov.numpy(),
        "features": measured.features.numpy(),
    }
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def _load(path: Path, key: Key) -> FeatureSet:
    arrays = _read(path)
    _check_key(path, json.loads(str(arrays["key"])), key)
    statistics = FeatureStatistics.from_moments(int(arrays["n"]), arrays["mean"], arrays["cov"])
    return FeatureSet(statistics, torch.from_numpy(arrays["features"]))


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as reference statistics ({error}); {REMEDY}") from error
    if missing := {"key", "n", "mean", "cov", "features"} - arrays.keys():
        raise UserError(
            f"{path}: holds {', '.join(arrays)} but not {', '.join(sorted(missing))}, so it does not "
            f"say what it is of; {REMEDY}"
        )
    return arrays


def _check_key(path: Path, found: Key, wanted: Key) -> None:
    differences = [
        f"{name} is {found.get(name)!r}, wanted {value!r}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if differences:
        raise UserError(
            f"{path}: these reference statistics are of something else ({'; '.join(differences)}); {REMEDY}"
        )
