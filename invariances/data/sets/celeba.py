"""CelebA in torchvision's layout, `<root>/celeba/`: faces with 40 attributes, alone and in pairs.

(Z. Liu, P. Luo, X. Wang, X. Tang, "Deep learning face attributes in the wild", ICCV 2015.)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64

from invariances.data.archives import MissingFiles, unpack_archive
from invariances.data.base import Batch, BatchedDataset, Images, Labels, dequantize
from invariances.data.cache import OnError, PictureFiles, PictureSet, cached
from invariances.data.pair_sampler import PairSampler
from invariances.data.pictures import Square
from invariances.data.random_streams import RandomStreams
from invariances.errors import InvalidInput
from invariances.utils.files import data_root, read_lines

Split = Literal["train", "validation", "test"]

FACTORS = ("Eyeglasses", "Male", "No_Beard", "Smiling")

_PARTITION = {"train": "0", "validation": "1", "test": "2"}
_N_TEST = 10_000
_HELP = (
    "Download img_align_celeba.zip, list_attr_celeba.txt and list_eval_partition.txt from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put them there, or let INVARIANCES_DATA name the "
    "folder that holds celeba/"
)


def celeba(split: Split, root: str | Path | None = None) -> PictureFiles:
    """List the faces of a split and their attributes, 1 or 0 each; for the test split a fixed subset of 10,000.

    Raises:
        MissingFiles: names the missing files and where they go; or the split has no picture.
        InvalidInput: a list does not have the format of CelebA's, or the two do not list the same pictures, once each.
    """
    home = data_root(root) / "celeba"
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        if not (home / name).exists():
            raise MissingFiles(f"{home / name} is not there. {_HELP}")
    folder = home / "img_align_celeba"
    archive = home / "img_align_celeba.zip"
    unpack_archive(folder, archive, _HELP, lambda name: folder / PurePosixPath(name).name)
    files, attributes = read_attributes(home / "list_attr_celeba.txt")
    partition = read_partition(home / "list_eval_partition.txt")
    _require_same(files, partition, home)
    rows = np.array([i for i, file in enumerate(files) if partition[file] == _PARTITION[split]], dtype=np.int64)
    if not rows.size:
        raise MissingFiles(
            f"{home / 'list_eval_partition.txt'} has no picture of list_attr_celeba.txt for the {split} split, "
            f"which it numbers {_PARTITION[split]}. {_HELP}"
        )
    pictures = PictureFiles("celeba", [str(folder / file) for file in files], attributes)
    return pictures.take(_subset(rows) if split == "test" else rows)


def _require_same(files: Sequence[str], partition: Mapping[str, str], home: Path) -> None:
    """Raise InvalidInput for a picture of which one list has no row."""
    for absent, name, other in (
        (partition.keys() - set(files), "list_attr_celeba.txt", "list_eval_partition.txt"),
        (set(files) - partition.keys(), "list_eval_partition.txt", "list_attr_celeba.txt"),
    ):
        if absent:
            what = f"{len(absent)} pictures of {other} have no row, first {min(absent)}"
            raise InvalidInput(f"{home / name}: {what}. {_HELP}")


def _require_once(files: Sequence[str], path: Path) -> None:
    """Raise InvalidInput for a picture that has two rows."""
    if len(set(files)) < len(files):
        twice = next(file for file, n in Counter(files).items() if n > 1)
        raise InvalidInput(f"{path}: {twice} has two rows or more; expected one. {_HELP}")


def _subset(rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " kept"]:
    """A fixed random subset of at most 10,000 rows."""
    order = RandomStreams(0, 0, rows).uniform("CelebA test", 1)[:, 0].argsort()
    return np.sort(rows[order[:_N_TEST]])


def read_partition(path: Path) -> dict[str, str]:
    """Read the list of splits: file name -> 0 (training), 1 (validation) or 2 (test).

    Raises:
        InvalidInput: a row is not a file name and one of these numbers; or a file has two rows.
    """
    rows = [line.split() for line in read_lines(path) if line.strip()]
    for row in rows:
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            found = " ".join(row)[:50]
            raise InvalidInput(f"{path}: expected rows of a file name and 0, 1 or 2, got {found!r}. {_HELP}")
    _require_once([file for file, _ in rows], path)
    return dict(rows)


def read_attributes(path: Path) -> tuple[list[str], Labels]:
    """Read the list of attributes: a line with the number of rows, a line of names, rows of a file name and ±1s.

    Returns:
        file names, and each attribute as name -> (N,) of 1 or 0.

    Raises:
        InvalidInput: the file has another format; or a picture has two rows.
    """
    lines = read_lines(path)
    count, names = "".join(lines[:1]).strip(), "".join(lines[1:2]).split()
    if not count.isdecimal() or not names or len(set(names)) < len(names):
        raise InvalidInput(
            f"{path}: expected the number of rows, then a line of attributes' names, all different; "
            f"got {count[:50]!r}, then {len(names)} names. {_HELP}"
        )
    rows = [line for line in lines[2:] if line.strip()]
    expected = f"{path}: expected {count} rows of {len(names)} values -1 or 1"
    try:
        signs = np.loadtxt(rows, dtype=np.int8, converters={0: lambda file: 0}, ndmin=2)[:, 1:]
    except ValueError as error:
        raise InvalidInput(f"{expected}; {error}") from error
    if signs.shape != (int(count), len(names)) or (abs(signs) != 1).any():
        n, n_values = signs.shape
        raise InvalidInput(f"{expected}; got {n} rows of {n_values} values in {np.unique(signs).tolist()}")
    table = torch.from_numpy(signs.T.astype(np.int64)).gt(0).long()
    files = [row.split(maxsplit=1)[0] for row in rows]
    _require_once(files, path)
    return files, dict(zip(names, table, strict=True))


class CelebATrain(PictureSet):
    """The training split, 162,770 faces: `image` (3, size, size) in [-1, 1), and 40 attributes, 1 or 0 each.

    Args:
        size: of the images in pixels.
        crop: side in pixels of the centre square that the 178×218 original is cropped to.
        antialias: of the resizing; the published experiments had none.
        on_error: "raise" an error about broken files, or "skip" them; see `PictureSet`.
        seed: of the dequantisation noise.
        root: data folder; $INVARIANCES_DATA or the user's cache folder if `None`.
    """

    def __init__(
        self,
        size: int = 64,
        crop: int = 160,
        antialias: bool = True,
        on_error: OnError = "raise",
        seed: int = 0,
        root: str | None = None,
    ) -> None:
        super().__init__(celeba("train", root), Square(size, crop, antialias), on_error, seed, root)


class CelebAValidation(PictureSet):
    """The validation split, 19,867 faces; each example is the same in every epoch and run."""

    def __init__(
        self,
        size: int = 64,
        crop: int = 160,
        antialias: bool = True,
        on_error: OnError = "raise",
        root: str | None = None,
    ) -> None:
        super().__init__(celeba("validation", root), Square(size, crop, antialias), on_error, None, root)


class CelebATest(PictureSet):
    """10,000 faces of the test split; each example is the same in every epoch and run."""

    def __init__(
        self,
        size: int = 64,
        crop: int = 160,
        antialias: bool = True,
        on_error: OnError = "raise",
        root: str | None = None,
    ) -> None:
        super().__init__(celeba("test", root), Square(size, crop, antialias), on_error, None, root)


class FactorPairs(BatchedDataset):
    """Pairs of images that share the value of one label, chosen at random for each pair.

    Factor k: the second image has the same value of the k-th label; if no other image has it, it is the first
    image again. An example has `factor`, `example1` and `example2` (3, H, W), float32 in [-1, 1), and `value`, the
    shared value. (P. Esser, R. Rombach, B. Ommer, "A disentangling invertible interpretation network", CVPR
    2020.)

    Args:
        images: uint8, (N, 3, H, W).
        labels: name -> (N,), int64.
        factors: names of the labels that can be shared, in order.
        seed: of all random numbers; `None` fixes them.

    Raises:
        InvalidInput: there are no images, or a factor is no label.

    Example:
        >>> labels = {"Male": torch.tensor([0, 0, 1]), "Smiling": torch.tensor([1, 0, 1])}
        >>> data = FactorPairs(np.zeros((3, 3, 8, 8), dtype=np.uint8), labels, ["Smiling"], seed=0)
        >>> data[0]["factor"], data[0]["value"], data[0]["example2"].shape
        (tensor(0), tensor(1), torch.Size([3, 8, 8]))
    """

    def __init__(self, images: Images, labels: Labels, factors: Sequence[str], seed: int | None) -> None:
        super().__init__(len(images), labels, seed)
        unknown = sorted(set(factors) - set(labels))
        if unknown or not factors:
            raise InvalidInput(f"factors are {list(factors)}; expected among {sorted(labels)}; unknown: {unknown}")
        self.images = images
        self.factors = list(factors)
        self._pair_samplers = [PairSampler(labels[name], name) for name in factors]

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """Sample the factors and second examples, and dequantise both."""
        factor = streams.below("factor", len(self.factors))
        chosen = factor, np.arange(len(index))
        second = np.stack([sampler.same(index, streams) for sampler in self._pair_samplers])[chosen]
        value = np.stack([self.labels[name].numpy()[index] for name in self.factors])[chosen]
        return {
            "factor": torch.from_numpy(factor),
            "example1": dequantize(self.images[index], streams, "dequantisation1"),
            "example2": dequantize(self.images[second], streams, "dequantisation2"),
            "value": torch.from_numpy(value),
        }


class FactorCelebATrain(FactorPairs):
    """Pairs of training faces that share an attribute: `factor`, `example1`, `example2`, `value`.

    Args:
        factors: the attributes, in the order of their numbers.
        size, crop, antialias, on_error, seed, root: as for `CelebATrain`.
    """

    def __init__(
        self,
        factors: Sequence[str] = FACTORS,
        size: int = 64,
        crop: int = 160,
        antialias: bool = True,
        on_error: OnError = "raise",
        seed: int = 0,
        root: str | None = None,
    ) -> None:
        images, faces, _ = cached(celeba("train", root), Square(size, crop, antialias), on_error, root)
        super().__init__(images, faces.labels, factors, seed)


class FactorCelebATest(FactorPairs):
    """Pairs of faces of the test split, the same in every epoch and run."""

    def __init__(
        self,
        factors: Sequence[str] = FACTORS,
        size: int = 64,
        crop: int = 160,
        antialias: bool = True,
        on_error: OnError = "raise",
        root: str | None = None,
    ) -> None:
        images, faces, _ = cached(celeba("test", root), Square(size, crop, antialias), on_error, root)
        super().__init__(images, faces.labels, factors, None)
