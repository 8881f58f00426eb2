"""CIFAR10 in torchvision's layout, `<root>/cifar-10-batches-py/`.

Existing files are used; missing ones are downloaded. (A. Krizhevsky, "Learning
multiple layers of features from tiny images", 2009.)
"""

import io
import pickle
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch

from invariances.data.base import Bytes, ImageSet, Labels, resize, ten_classes
from invariances.errors import InvalidInput
from invariances.utils.arguments import require_at_least
from invariances.utils.download import download
from invariances.utils.files import atomic_write, data_root, read_bytes

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
    """Reads arrays and plain containers only; other names in a pickle could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return super().find_class(module, name)


def read_batch(path: Path) -> tuple[Bytes, Labels]:
    """Read one pickled batch.

    Returns:
        images, bytes (N, 3, 32, 32), and the label `class` (N,).

    Raises:
        InvalidInput: the file has another format or is incomplete.
    """
    try:
        batch = _ArrayUnpickler(io.BytesIO(read_bytes(path)), encoding="latin1").load()
        images = np.asarray(batch["data"]).reshape(-1, 3, 32, 32)
        if images.dtype != np.uint8:
            raise InvalidInput(f"its pixels are {images.dtype}; expected uint8")
        classes = np.asarray(batch["labels"]).reshape(len(images))
    except Exception as error:  # garbage may make the unpickler raise anything, even a MemoryError
        raise InvalidInput(
            f"{path} is not a whole CIFAR10 batch: {str(error) or type(error).__name__}. "
            "Delete the file and run again to download it again"
        ) from error
    return images, ten_classes(classes, path)


def cifar10(split: Literal["train", "test"], size: int, root: str | Path | None) -> tuple[Bytes, Labels]:
    """Read one split, and download it first if need be.

    Returns:
        images, bytes (N, 3, size, size), and the label `class` (N,).

    Raises:
        InvalidInput: a size below 1; a file is damaged.
        DownloadError: a file is missing and cannot be downloaded.
    """
    require_at_least(size=(size, 1))
    home = data_root(root)
    if not all((home / FOLDER / file).exists() for file in FILES[split]):
        _download(home)
    images, labels = zip(*(read_batch(home / FOLDER / file) for file in FILES[split]), strict=True)
    classes = torch.cat([batch["class"] for batch in labels])
    return resize(np.concatenate(images), size), {"class": classes}


def _download(home: Path) -> None:
    """Download and unpack the archive, each file atomically; existing files are kept."""
    from torchvision.datasets import CIFAR10

    archive = download(home / CIFAR10.filename, URLS, f"md5:{CIFAR10.tgz_md5}")
    with tarfile.open(archive) as tar:
        for member in tar:
            path, source = home / FOLDER / PurePosixPath(member.name).name, tar.extractfile(member)
            if source is not None and not path.exists():
                with atomic_write(path) as part, open(part, "wb") as file:
                    shutil.copyfileobj(source, file)


class CIFAR10Train(ImageSet):
    """The training split of CIFAR10, 50,000 photographs: `image` (3, size, size) in [-1, 1), `class` in {0 … 9}.

    Args:
        size: of the images in pixels.
        seed: of the dequantisation noise.
        root: data folder; $INVARIANCES_DATA or the user's cache folder if `None`.
    """

    def __init__(self, size: int = 32, seed: int = 0, root: str | None = None) -> None:
        super().__init__(*cifar10("train", size, root), seed=seed)


class CIFAR10Test(ImageSet):
    """The test split of CIFAR10, 10,000 photographs; each example is the same in every epoch and run."""

    def __init__(self, size: int = 32, root: str | None = None) -> None:
        super().__init__(*cifar10("test", size, root), seed=None)
