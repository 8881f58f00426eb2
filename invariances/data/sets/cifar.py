"""CIFAR10 in torchvision's layout, `<root>/cifar-10-batches-py/`.

What lies there and is well-formed is used as it is; what does not is downloaded. (A. Krizhevsky, "Learning
multiple layers of features from tiny images", 2009.)
"""

import io
import os
import pickle
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from invariances.data.base import Bytes, ImageSet, Labels, require_size, resize, ten_classes
from invariances.utils.download import download
from invariances.utils.files import data_root, read_bytes

URLS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
)
FOLDER = "cifar-10-batches-py"
FILES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and plain containers; a pickle that names anything else could run it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return super().find_class(module, name)


def read_batch(path: Path) -> tuple[Bytes, Labels]:
    """Images (N, 3, 32, 32), bytes, and the label `class` of one pickled batch.

    Raises:
        ValueError: it is anything else.
    """
    try:
        batch = _ArrayUnpickler(io.BytesIO(read_bytes(path)), encoding="latin1").load()
        images = np.asarray(batch["data"]).reshape(-1, 3, 32, 32)
        if images.dtype != np.uint8:
            raise ValueError(f"its pixels are {images.dtype} in place of uint8")
        classes = np.asarray(batch["labels"]).reshape(len(images))
    except Exception as error:  # garbage may make the unpickler raise anything, even a MemoryError
        raise ValueError(
            f"{path} is not a whole CIFAR10 batch: {str(error) or type(error).__name__}. Delete it to fetch it anew"
        ) from error
    return images, ten_classes(classes, path)


def cifar10(split: Literal["train", "test"], size: int, root: str | Path | None) -> tuple[Bytes, Labels]:
    """Images (N, 3, size, size), bytes, and the label `class`.

    Raises:
        ValueError: a size below 1; a file is damaged.
        DownloadError: one is not there and cannot be fetched.
    """
    require_size(size)
    home = data_root(root)
    if not all((home / FOLDER / file).exists() for file in FILES[split]):
        _fetch(home)
    images, labels = zip(*(read_batch(home / FOLDER / file) for file in FILES[split]), strict=True)
    classes = torch.cat([batch["class"] for batch in labels])
    return resize(np.concatenate(images), size), {"class": classes}


def _fetch(home: Path) -> None:
    """Download and unpack the archive; each file appears whole, and none that is there is touched."""
    from torchvision.datasets import CIFAR10

    archive = download(home / CIFAR10.filename, URLS, f"md5:{CIFAR10.tgz_md5}")
    (home / FOLDER).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as temporary, tarfile.open(archive) as tar:
        tar.extractall(temporary, filter="data")
        for file in (Path(temporary) / FOLDER).iterdir():
            if not (home / FOLDER / file.name).exists():
                os.replace(file, home / FOLDER / file.name)


class CIFAR10Train(ImageSet):
    """Photographs of ten kinds of things, 50,000: `image` (3, size, size) in [-1, 1), `class` in {0 … 9}.

    Args:
        size: of the images in pixels.
        seed: of the dequantisation noise.
        root: folder of all data; $INVARIANCES_DATA or the user's cache folder if `None`.
    """

    def __init__(self, size: int = 32, seed: int = 0, root: str | None = None) -> None:
        super().__init__(*cifar10("train", size, root), seed=seed)


class CIFAR10Test(ImageSet):
    """The 10,000 photographs held out; each example always the same."""

    def __init__(self, size: int = 32, root: str | None = None) -> None:
        super().__init__(*cifar10("test", size, root), seed=None)
