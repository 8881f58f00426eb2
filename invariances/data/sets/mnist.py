"""MNIST, FashionMNIST, and their colourful versions, in torchvision's layout.

`<root>/MNIST/raw/train-images-idx3-ubyte` (or the same with .gz), and so on. Existing well-formed files are
used, whatever their number of images; missing and damaged ones are downloaded. (Y. LeCun,
C. Cortes, C. Burges, "The MNIST database"; H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017.)
"""

import gzip
import logging
import math
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from invariances.data.base import Bytes, ImageSet, Labels, resize, ten_classes
from invariances.data.colors import ColorfulImages, ColorfulPairs
from invariances.errors import InvalidInput
from invariances.utils.arguments import require_at_least
from invariances.utils.download import download
from invariances.utils.files import data_root, read_bytes

logger = logging.getLogger(__name__)

Name = Literal["MNIST", "FashionMNIST"]
Split = Literal["train", "test"]

MIRRORS: dict[str, tuple[str, ...]] = {
    "MNIST": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://dataset.bj.bcebos.com/mnist/",
    ),
    "FashionMNIST": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://dataset.bj.bcebos.com/fashion_mnist/",
    ),
}


def mnist(name: Name, split: Split, size: int, root: str | Path | None) -> tuple[Bytes, Labels]:
    """Read one split, and download it first if need be.

    Returns:
        images, bytes (N, 1, size, size), and the label `class` (N,).

    Raises:
        InvalidInput: a size below 1; images and labels of different numbers; a class outside 0 … 9.
        DownloadError: a file is missing and cannot be downloaded.
    """
    require_at_least(size=(size, 1))
    part = "train" if split == "train" else "t10k"
    folder = data_root(root) / name / "raw"
    images, labels = (_read(folder, name, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    if images.ndim != 3 or not images.size or labels.shape != images.shape[:1]:
        raise InvalidInput(
            f"{folder}: {part} images have shape {images.shape} and labels {labels.shape}; expected "
            "(N, height, width) and (N,), none of them 0. Delete both files and run again to download them again"
        )
    classes = ten_classes(labels, folder / f"{part}-labels-idx1-ubyte")
    return resize(images[:, None], size), classes


def _read(folder: Path, name: Name, file: str) -> np.ndarray:
    """Read the file if it is well-formed, plain or packed; else the official one."""
    for path in (folder / file, folder / f"{file}.gz"):
        if path.exists():
            try:
                return read_idx(path)
            except InvalidInput as error:
                logger.warning("%s; the file is ignored", error)
    return read_idx(_official(folder, name, f"{file}.gz"))


def _official(folder: Path, name: Name, file: str) -> Path:
    from torchvision import datasets

    md5 = dict(getattr(datasets, name).resources)[file]
    return download(folder / file, [mirror + file for mirror in MIRRORS[name]], f"md5:{md5}")


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes: 0, 0, 8, number of dimensions; sizes as big-endian int32; data.

    Args:
        path: of the file; with the ending .gz it is unpacked.

    Returns:
        the array, uint8.

    Raises:
        InvalidInput: the file has another format or is incomplete.
    """
    try:
        data = gzip.decompress(read_bytes(path)) if path.suffix == ".gz" else read_bytes(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} is not a whole gzip file: {error}") from error
    n_dims = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    start = 4 + 4 * n_dims
    shape = tuple(np.frombuffer(data[4:start], dtype=">u4").tolist()) if len(data) >= start else ()
    if n_dims == 0 or len(data) - start != math.prod(shape):
        raise InvalidInput(
            f"{path} is not a whole IDX file of bytes: {len(data)} bytes, beginning {data[:16]!r}"
        )
    return np.frombuffer(bytearray(data), np.uint8, offset=start).reshape(shape)


class MNISTTrain(ImageSet):
    """The training split of MNIST, 60,000 handwritten digits: `image` (1, size, size) in [-1, 1), `class` in {0 … 9}.

    Args:
        size: of the images in pixels.
        seed: of the dequantisation noise.
        root: data folder; $INVARIANCES_DATA or the user's cache folder if `None`.
    """

    def __init__(self, size: int = 32, seed: int = 0, root: str | None = None) -> None:
        super().__init__(*mnist("MNIST", "train", size, root), seed=seed)


class MNISTTest(ImageSet):
    """The test split of MNIST, 10,000 digits; each example is the same in every epoch and run."""

    def __init__(self, size: int = 32, root: str | None = None) -> None:
        super().__init__(*mnist("MNIST", "test", size, root), seed=None)


class FashionMNISTTrain(ImageSet):
    """The training split of FashionMNIST, 60,000 pictures of clothes; see `MNISTTrain`."""

    def __init__(self, size: int = 32, seed: int = 0, root: str | None = None) -> None:
        super().__init__(*mnist("FashionMNIST", "train", size, root), seed=seed)


class FashionMNISTTest(ImageSet):
    """The test split of FashionMNIST, 10,000 pictures; each example is the same in every epoch and run."""

    def __init__(self, size: int = 32, root: str | None = None) -> None:
        super().__init__(*mnist("FashionMNIST", "test", size, root), seed=None)


class SingleColorfulMNISTTrain(ColorfulImages):
    """MNIST in random colours, different in each epoch: `image` (3, size, size), `class`; see `ColorfulImages`."""

    def __init__(self, size: int = 32, seed: int = 0, root: str | None = None) -> None:
        super().__init__(*mnist("MNIST", "train", size, root), seed=seed)


class SingleColorfulMNISTTest(ColorfulImages):
    """The test split of MNIST, each image in a fixed colour of its own."""

    def __init__(self, size: int = 32, root: str | None = None) -> None:
        super().__init__(*mnist("MNIST", "test", size, root), seed=None)


class ColorfulMNISTTrain(ColorfulPairs):
    """Pairs of coloured digits: `factor` 0 = same digit, other colour; 1 = same colour, other digit.

    Args:
        size, seed, root: as for `MNISTTrain`.
        other_class: whether pairs of one colour are of two digits, see `ColorfulPairs`, also for what an example has.
    """

    def __init__(self, size: int = 32, seed: int = 0, root: str | None = None, other_class: bool = True) -> None:
        super().__init__(*mnist("MNIST", "train", size, root), seed=seed, other_class=other_class)


class ColorfulMNISTTest(ColorfulPairs):
    """Pairs of digits of the test split, the same in every epoch and run."""

    def __init__(self, size: int = 32, root: str | None = None, other_class: bool = True) -> None:
        super().__init__(*mnist("MNIST", "test", size, root), seed=None, other_class=other_class)


class ColorfulFashionMNISTTrain(ColorfulPairs):
    """Pairs of coloured clothes that share class or colour; see `ColorfulMNISTTrain`."""

    def __init__(self, size: int = 32, seed: int = 0, root: str | None = None) -> None:
        super().__init__(*mnist("FashionMNIST", "train", size, root), seed=seed)


class ColorfulFashionMNISTTest(ColorfulPairs):
    """Pairs of clothes of the test split, the same in every epoch and run."""

    def __init__(self, size: int = 32, root: str | None = None) -> None:
        super().__init__(*mnist("FashionMNIST", "test", size, root), seed=None)
