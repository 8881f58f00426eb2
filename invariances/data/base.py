"""Base classes of the data sets: examples are dicts of tensors, computed a batch at a time.

Images are float32 (C, H, W) in [-1, 1). A byte is dequantised, x = (byte + u) / 128 − 1 with
u ~ U[0, 1) drawn for each pixel, so that a density on images stays bounded (Theis et al., "A note on the
evaluation of generative models", ICLR 2016).
"""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from invariances.data.memmap import MemmapImages
from invariances.data.random_streams import RandomStreams
from invariances.errors import InvalidInput

Batch = dict[str, Tensor]


class _WholeBatch(dict[str, Tensor]):
    """A batch made at once, which torch's own collate function, too, returns unchanged.

    That function looks at the first example, `batch[0]`, and then for its type in a table that takes further entries.
    """

    def __missing__(self, key: object) -> "_Collated":
        if key == 0:
            return _Collated()
        raise KeyError(key)


class _Collated:
    """Stands for the first example of a batch that needs no collate function."""


default_collate_fn_map[_Collated] = lambda batch, **_: dict(batch)
Labels = dict[str, Tensor]  # each (N,), int64
Bytes = UInt8[np.ndarray, "examples channels height width"]
Images = Bytes | MemmapImages

_BLOCK = 2**19  # bytes that are processed at a time, so that they stay in the processor's cache
_FIXED_SEED = 0x7E57  # of fixed data sets; its random numbers differ from those of a training set


def dequantize(
    pixels: np.ndarray, streams: RandomStreams, stream: str = "dequantisation"
) -> Float32[Tensor, "batch channels height width"]:
    """Convert bytes to floats in [-1, 1): x = (pixels + u) / 128 − 1 with u ~ U[0, 1).

    Args:
        pixels: bytes, or numbers in [0, 255], (B, C, H, W).
        streams: random streams of these B examples.
        stream: name of the stream that the noise comes from.

    >>> image = dequantize(np.full((1, 1, 2, 2), 255), RandomStreams(seed=0, epoch=0, index=np.array([0])))
    >>> bool((image >= 127 / 128).all() and (image < 1).all())
    True
    """
    out = np.empty(pixels.shape, dtype=np.float32)
    n = math.prod(pixels.shape[1:])
    step = max(1, _BLOCK // (4 * n))
    for rows in (slice(start, start + step) for start in range(0, len(out), step)):
        block = out[rows]
        np.add(streams[rows].noise(stream, n).reshape(block.shape), pixels[rows], out=block)
        block *= np.float32(1 / 128)
        block -= 1
    return torch.from_numpy(out)


def ten_classes(values: np.ndarray, source: str | Path) -> Labels:
    """The classes 0 … 9 of a file as the label `class`.

    Args:
        values: the classes, (N,).
        source: the file, for the message.

    Raises:
        InvalidInput: a class is not among 0 … 9.

    >>> ten_classes(np.array([3, 9]), "labels")
    {'class': tensor([3, 9])}
    """
    others = values[~np.isin(values, np.arange(10))]
    if others.size:
        raise InvalidInput(
            f"{source} has the class {others[0]}; expected 0 to 9. Delete the file and run again to download it again"
        )
    return {"class": torch.from_numpy(values.astype(np.int64))}


def resize(
    images: Bytes, size: int, chunk: int = 4096
) -> UInt8[np.ndarray, "examples channels {size} {size}"]:
    """Resize images to `size` × `size` pixels, bilinear with antialias; returned unchanged if they have that size.

    >>> resize(np.zeros((2, 1, 28, 28), dtype=np.uint8), 32).shape
    (2, 1, 32, 32)
    """
    if images.shape[-2:] == (size, size):
        return images
    out = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    for start in range(0, len(images), chunk):
        part = torch.from_numpy(images[start : start + chunk])
        out[start : start + chunk] = interpolate(part, (size, size), mode="bilinear", antialias=True).numpy()
    return out


class BatchedDataset(Dataset[Batch], ABC):
    """A map-style data set that computes whole batches by array operations.

    A subclass implements `make`. `data[i]` is one example, a dict of tensors; `data.__getitems__(indices)`
    is a batch, the same dict with a leading dimension, as is each batch of `DataLoader(data, batch_size=25)`.
    Everything random in an example is a function of (seed, epoch, index): the same alone or in any batch,
    in any worker and in any run; different in every epoch.

    Args:
        n: number of examples.
        labels: name -> values of all examples, (n,), int64; available without decoding an image.
        seed: of the random numbers; `None` fixes them, so that an example is the same in every epoch and run.

    Raises:
        InvalidInput: labels of another shape or dtype.

    Example:
        >>> class Noise(BatchedDataset):
        ...     def make(self, index, streams):
        ...         return {"x": torch.from_numpy(streams.noise("x", 3)), **self.labels_at(index)}
        >>> data = Noise(10, {"class": torch.arange(10)}, seed=0)
        >>> batch = data.__getitems__([7, 2])
        >>> batch["x"].shape, batch["class"]
        (torch.Size([2, 3]), tensor([7, 2]))
        >>> torch.equal(data[2]["x"], batch["x"][1])
        True
    """

    def __init__(self, n: int, labels: Labels, seed: int | None) -> None:
        for name, values in labels.items():
            if values.shape != (n,) or values.dtype != torch.int64:
                raise InvalidInput(
                    f"label {name!r} has shape {tuple(values.shape)} and {values.dtype}; "
                    f"expected ({n},) and torch.int64 for {n} examples"
                )
        self._n = n
        self.labels = labels
        self.seed = seed
        # In shared memory, so that workers that outlive an epoch see the next one begin.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that the random numbers are those of."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Use the random numbers of this epoch; without effect on a fixed data set."""
        if self.seed is not None:
            self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: SupportsIndex) -> Batch:
        return {key: values[0] for key, values in self.__getitems__([operator.index(i)]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        index = np.asarray(indices, dtype=np.int64)
        outside = index[(index < -self._n) | (index >= self._n)]
        if outside.size:
            raise IndexError(f"index {outside[0]} is outside {type(self).__name__} of {self._n} examples")
        index = index % max(self._n, 1)
        seed = _FIXED_SEED if self.seed is None else self.seed
        return _WholeBatch(self.make(index, RandomStreams(seed, self.epoch, index)))

    @abstractmethod
    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """Compute a batch.

        Args:
            index: of the examples, (B,), in 0 … n − 1.
            streams: random streams of these examples.

        Returns:
            name -> tensor with a leading dimension, (B, …).
        """

    def labels_at(self, index: Int64[np.ndarray, " batch"]) -> Batch:
        """All labels of the examples at `index`, each (B,)."""
        rows = torch.from_numpy(index)
        return {name: values[rows] for name, values in self.labels.items()}


class ImageSet(BatchedDataset):
    """Images held as bytes, in memory or in a memory-mapped file, and their labels.

    An example has `image` (C, H, W), float32 in [-1, 1), and every label, int64.

    Args:
        images: uint8, (N, C, H, W).
        labels: name -> (N,), int64.
        seed: of the dequantisation noise; `None` fixes it.

    Example:
        >>> data = ImageSet(np.zeros((5, 1, 8, 8), dtype=np.uint8), {"class": torch.arange(5)}, seed=0)
        >>> data[3]["image"].shape, data[3]["class"]
        (torch.Size([1, 8, 8]), tensor(3))
    """

    def __init__(self, images: Images, labels: Labels, seed: int | None) -> None:
        super().__init__(len(images), labels, seed)
        self.images = images

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """Dequantise the images."""
        return {"image": dequantize(self.images[index], streams), **self.labels_at(index)}
