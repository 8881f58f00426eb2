"""What the frozen networks make of the training images, computed once and kept on disk.

The network under study and the autoencoder do not change while a flow trains. Later epochs, and later trainings on the
same images, read their outputs and run the flow alone. Each network has a folder of its own in the cache, named after
everything its content depends on: the network and its weights, layer and preprocessing, the examples, the number of
epochs and the precision. It holds one file of rows for each output; rows are (epoch, example). A build appends to
`*.part` files and renames them when all are complete, so that an interrupted build continues where it stopped. The
folders may be deleted at any time.
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from invariances.data.loader import Loader, collate
from invariances.errors import InvalidInput
from invariances.iterators.base import ENCODED
from invariances.iterators.base import Iterator as Task
from invariances.utils.arguments import require_at_least
from invariances.utils.files import atomic_write, cache_root, locked, require_space
from invariances.utils.weights import fingerprint

log = logging.getLogger(__name__)

Encode = Callable[[Tensor], dict[str, Tensor]]
Precision = Literal["float32", "float16"]
_PROBES = 64  # examples of each epoch that go into the key of the data
_VERSION = 1  # of the files in a cache folder


class CacheSettings:
    """The section `cache` of a config.

    Args:
        representations: keep the outputs of the frozen networks for all training images; by default only if every
            epoch has the same images, bit for bit.
        epochs: number of epochs whose images are kept, where images are augmented, recoloured or dequantised at
            random; later epochs repeat them in turn.
        precision: of the numbers on disk; float16 halves the space and keeps three digits.

    Raises:
        InvalidInput: less than one epoch.
    """

    def __init__(
        self, representations: bool | None = None, epochs: int = 1, precision: Precision = "float32"
    ) -> None:
        require_at_least(epochs=(epochs, 1))
        self.representations, self.epochs, self.precision = representations, epochs, precision


class EncodedSet(Dataset[Any]):
    """Outputs of frozen networks for the examples of a data set, as a data set.

    Args:
        arrays: name -> (epochs · n, …), rows by epoch and then by example.
        epochs: number of epochs kept.

    >>> rows = EncodedSet({"z": np.arange(6.0).reshape(6, 1)}, epochs=2)
    >>> rows.set_epoch(3)
    >>> len(rows), rows.__getitems__([0, 2])["encoded"]["z"].ravel()
    (3, tensor([3., 5.]))
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], epochs: int) -> None:
        self.arrays, self.epochs = arrays, epochs
        self.n = len(next(iter(arrays.values()))) // epochs
        self._first = 0

    def __len__(self) -> int:
        return self.n

    def set_epoch(self, epoch: int) -> None:
        """Use the rows of this epoch; after the last that is kept, they start over."""
        self._first = epoch % self.epochs * self.n

    def __getitems__(self, indices: Sequence[int]) -> dict[str, dict[str, Tensor]]:
        rows = self._first + np.asarray(indices)
        return {ENCODED: {name: torch.from_numpy(array[rows]).float() for name, array in self.arrays.items()}}

    def __getitem__(self, index: int) -> dict[str, dict[str, Tensor]]:
        return {ENCODED: {name: values[0] for name, values in self.__getitems__([index])[ENCODED].items()}}


def with_cache(
    loader: Loader, task: Task, settings: CacheSettings, description: Mapping[str, Any], device: torch.device
) -> Loader:
    """The loader to train with: of kept outputs of the frozen networks, or the given one.

    Args:
        loader: of the training images.
        task: with the frozen networks, see `Iterator.encoders`.
        settings: see `CacheSettings`.
        description: of the training examples, part of the key: class and arguments of the data set.
        device: to compute on.

    Raises:
        InvalidInput: the settings ask for a cache that the task or the data cannot have, or the disk is too small.
    """
    encoders = task.encoders()
    if settings.representations is False or (settings.representations is None and not _is_fixed(loader.dataset)):
        return loader
    if not encoders:
        if settings.representations:
            name = type(task).__name__
            raise InvalidInput(f"cache/representations: {name} has no frozen networks that see each image alone")
        return loader
    networks = {name: getattr(task, name).network for name in encoders}
    arrays = encoded(loader, encoders, networks, settings, description, device)
    dataset = EncodedSet(arrays, settings.epochs)
    return Loader(dataset, loader.batches.batch_size, loader.batches.seed, shuffle=True)


def _is_fixed(dataset: Any) -> bool:
    """Whether a data set says that its examples are the same in every epoch."""
    return getattr(dataset, "seed", 0) is None


def encoded(
    loader: Loader,
    encoders: Mapping[str, Encode],
    networks: Mapping[str, nn.Module],
    settings: CacheSettings,
    description: Mapping[str, Any],
    device: torch.device,
) -> dict[str, np.ndarray]:
    """The outputs of networks for the examples of a loader, from the cache, or computed in one pass over the examples.

    Args:
        loader: of the images; its order does not matter.
        encoders: network -> what it makes of a batch of images, (B, C, H, W): output -> (B, …).
        networks: network -> the network, for the key.
        settings, description, device: see `with_cache`.

    Returns:
        output -> (epochs · n, …), memory-mapped.
    """
    data = _data_key(loader.dataset, description, settings)
    folders = {name: _folder(name, networks[name], data) for name in encoders}
    with ExitStack() as locks:
        for folder in sorted(set(folders.values())):  # in one order, so that no two processes wait for each other
            locks.enter_context(locked(folder))
        missing = {name: folder for name, folder in folders.items() if not (folder / "index.json").exists()}
        if missing:
            _build(_Pass(loader, settings, device), {name: encoders[name] for name in missing}, missing)
    log.info("outputs of %s for %d images are read from %s", ", ".join(folders), len(cast(Any, loader.dataset)),
             next(iter(folders.values())).parent)
    return {output: array for folder in folders.values() for output, array in _open(folder).items()}


def _folder(name: str, network: nn.Module, data: str) -> Path:
    layer = getattr(network, "layer", None)
    key = hashlib.sha256(f"{_VERSION} {data} {fingerprint(network)} {layer}".encode()).hexdigest()[:16]
    return cache_root() / "representations" / f"{name}-{key}"


def _data_key(dataset: Any, description: Mapping[str, Any], settings: CacheSettings) -> str:
    """A hash of the examples: of their source, and of some of them in each epoch."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode())
    digest.update(f"{len(dataset)} {settings.epochs} {settings.precision}".encode())
    digest.update(_source(getattr(dataset, "images", None)))
    rows = np.unique(np.linspace(0, len(dataset) - 1, _PROBES).astype(int)).tolist()
    for epoch in range(settings.epochs):
        images = _images(dataset, epoch, rows)
        digest.update(images.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _source(images: Any) -> bytes:
    """The bytes of images in memory; the path, size and time of a memory-mapped file."""
    if isinstance(images, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(images).data).digest()
    path = getattr(images, "path", None)
    if path is None:
        return b""
    status = os.stat(path)
    rows = getattr(images, "rows", None)
    return f"{path} {status.st_size} {status.st_mtime_ns}".encode() + (b"" if rows is None else rows.tobytes())


def _images(dataset: Any, epoch: int, rows: Sequence[int]) -> Tensor:
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
    batch = dataset.__getitems__(rows) if hasattr(dataset, "__getitems__") else [dataset[row] for row in rows]
    return _image(collate(batch))


def _image(batch: Mapping[str, Tensor]) -> Tensor:
    """The images of a batch.

    Raises:
        InvalidInput: the examples are no single images.
    """
    if "image" not in batch:
        raise InvalidInput(
            f"the examples have {', '.join(batch)}; expected image, to keep what networks make of it; "
            "use --cache/representations false"
        )
    return batch["image"]


@dataclass(frozen=True)
class _Pass:
    """One pass over the examples in order, epoch by epoch."""

    loader: Loader
    settings: CacheSettings
    device: torch.device

    @property
    def n_rows(self) -> int:
        return self.settings.epochs * len(cast(Any, self.loader.dataset))

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.settings.precision)

    def images(self, start: int) -> Iterator[Tensor]:
        """Batches of images, from row `start` on, at least one batch."""
        dataset: Any = self.loader.dataset
        n, batch_size = len(dataset), self.loader.batches.batch_size
        for epoch in range(start // n, self.settings.epochs):
            first = max(0, start - epoch * n)
            chunks = [list(range(i, min(i + batch_size, n))) for i in range(first, n, batch_size)]
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(epoch)
            batches: DataLoader[Any] = DataLoader(
                dataset, batch_sampler=chunks, collate_fn=collate, num_workers=self.loader.num_workers
            )
            yield from (_image(batch).to(self.device) for batch in batches)


@torch.no_grad()
def _build(images: _Pass, encoders: Mapping[str, Encode], folders: Mapping[str, Path]) -> None:
    """Compute the outputs of some networks in one pass, continuing after the complete rows of an interrupted one."""
    shapes = _shapes(images, encoders)
    files = {output: folders[name] / f"{output}.part" for name in encoders for output in shapes[name]}
    sizes = {output: math.prod(shape) * images.dtype.itemsize for by in shapes.values() for output, shape in by.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    start = min(path.stat().st_size // sizes[output] if path.exists() else 0 for output, path in files.items())
    require_space(next(iter(folders.values())), (images.n_rows - start) * sum(sizes.values()))
    with ExitStack() as stack:
        opened = {output: stack.enter_context(open(path, "ab")) for output, path in files.items()}
        for output, file in opened.items():
            file.truncate(start * sizes[output])
        bar = tqdm(desc=f"Outputs of {', '.join(encoders)}, once", total=images.n_rows, initial=start, unit=" images")
        for batch in stack.enter_context(bar) and images.images(start):
            for encode in encoders.values():
                for output, values in encode(batch).items():
                    opened[output].write(_rows(values, images.dtype, output))
            bar.update(len(batch))
    for name, folder in folders.items():
        _complete(folder, {output: (images.n_rows, *shape) for output, shape in shapes[name].items()}, images.dtype)


def _shapes(images: _Pass, encoders: Mapping[str, Encode]) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shape of one row of each output of each network."""
    probe = next(images.images(images.n_rows - 1))
    return {
        name: {output: tuple(values.shape[1:]) for output, values in encode(probe).items()}
        for name, encode in encoders.items()
    }


def _rows(values: Tensor, dtype: np.dtype[Any], output: str) -> memoryview:
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(values.cpu().float().numpy().astype(dtype))
    if not np.isfinite(rows).all():
        raise InvalidInput(
            f"cache: {output} has values of up to {values.abs().max().item():.3g}, which {dtype} cannot hold; "
            "use --cache/precision float32, or --cache/representations false"
        )
    return rows.data


def _complete(folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> None:
    """Give the files their names, and write the index, which says that all are complete."""
    for output in shapes:
        os.replace(folder / f"{output}.part", folder / f"{output}.{dtype}")
    with atomic_write(folder / "index.json") as file:
        file.write_text(json.dumps({"dtype": str(dtype), "shapes": shapes}))


def _open(folder: Path) -> dict[str, np.ndarray]:
    index = json.loads((folder / "index.json").read_text())
    dtype = index["dtype"]
    return {
        output: np.memmap(folder / f"{output}.{dtype}", dtype, mode="r", shape=tuple(shape)).view(np.ndarray)
        for output, shape in index["shapes"].items()
    }
