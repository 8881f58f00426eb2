"""CelebA in torchvision's layout, `<root>/celeba/`: faces with 40 attributes, alone and in pairs.

(Z. Liu, P. Luo, X. Wang, X. Tang, "Deep learning face attributes in the wild", ICCV 2015.)
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64

from invariances.data.archives import MissingFiles, prepare
from invariances.data.base import Batch, BatchedDataset, Images, Labels, dequantize
from invariances.data.cache import OnError, PictureFiles, PictureSet, cached
from invariances.data.pair_sampler import PairSampler
from invariances.data.pictures import Square
from invariances.data.random_streams import RandomStreams
from invariances.utils.files import data_root, read_lines

Split = Literal["train", "test"]

FACTORS = ("Eyeglasses", "Male", "No_Beard", "Smiling")

_PARTITION = {"train": "0", "test": "2"}
_N_TEST = 10_000
_HELP = (
    "Download img_align_celeba.zip, list_attr_celeba.txt and list_eval_partition.txt from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put them there, or let INVARIANCES_DATA name the "
    "folder that holds celeba/"
)


def celeba(split: Split, root: str | Path | None = None) -> PictureFiles:
    """The faces of a split and their attributes, 1 or 0 each; to test, 10,000 drawn once and for all.

    Raises:
        MissingFiles: says which, and where they go; no picture is of the split.
        ValueError: a list does not have the form of CelebA's.
    """
    home = data_root(root) / "celeba"
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        if not (home / name).exists():
            raise MissingFiles(f"{home / name} is not there. {_HELP}")
    folder = home / "img_align_celeba"
    prepare(
        folder, home / "img_align_celeba.zip", _HELP, place=lambda name: folder / PurePosixPath(name).name
    )
    files, attributes = read_attributes(home / "list_attr_celeba.txt")
    partition = read_partition(home / "list_eval_partition.txt")
    rows = np.array(
        [i for i, file in enumerate(files) if partition.get(file) == _PARTITION[split]], dtype=np.int64
    )
    if not rows.size:
        raise MissingFiles(
            f"{home / 'list_eval_partition.txt'} has no picture of list_attr_celeba.txt for the {split} split, "
            f"which it numbers {_PARTITION[split]}. {_HELP}"
        )
    pictures = PictureFiles("celeba", [str(folder / file) for file in files], attributes)
    return pictures.take(_drawn(rows) if split == "test" else rows)


def _drawn(rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " kept"]:
    """10,000 of the rows, always the same ones."""
    order = RandomStreams(0, 0, rows).uniform("CelebA test", 1)[:, 0].argsort()
    return np.sort(rows[order[:_N_TEST]])


def read_partition(path: Path) -> dict[str, str]:
    """File name -> 0, 1 or 2, from rows of both.

    Raises:
        ValueError: a row is anything else.
    """
    rows = [line.split() for line in read_lines(path) if line.strip()]
    for row in rows:
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            found = " ".join(row)[:50]
            raise ValueError(f"{path}: rows of a file name and 0, 1 or 2 are expected; found {found!r}. {_HELP}")
    return dict(rows)


def read_attributes(path: Path) -> tuple[list[str], Labels]:
    """File names, and name -> (N,) of each attribute as 1 or 0.

    The file holds the number of rows, the attributes' names, then rows of a file name and ±1s.

    Raises:
        ValueError: it does not.
    """
    lines = read_lines(path)
    count, names = "".join(lines[:1]).strip(), "".join(lines[1:2]).split()
    if not count.isdecimal() or not names or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: the number of rows, then a line of attributes' names, all different, are expected; "
            f"found {count[:50]!r}, then {len(names)} names. {_HELP}"
        )
    rows = [line for line in lines[2:] if line.strip()]
    expected = f"{path}: {count} rows of {len(names)} values -1 or 1 are expected"
    try:
        signs = np.loadtxt(rows, dtype=np.int8, converters={0: lambda file: 0}, ndmin=2)[:, 1:]
    except ValueError as error:
        raise ValueError(f"{expected}; {error}") from error
    if signs.shape != (int(count), len(names)) or (abs(signs) != 1).any():
        n, n_values = signs.shape
        raise ValueError(f"{expected}; found {n} rows of {n_values} values in {np.unique(signs).tolist()}")
    table = torch.from_numpy(signs.T.astype(np.int64)).gt(0).long()
    return [row.split(maxsplit=1)[0] for row in rows], dict(zip(names, table, strict=True))


class CelebATrain(PictureSet):
    """Faces to train on, 162,770: `image` (3, size, size) in [-1, 1), and 40 attributes, 1 or 0 each.

    Args:
        size: of the images in pixels.
        crop: side in pixels of the centre square that is kept of the 178×218 original.
        on_error: what to do about broken files, see `PictureSet`.
        seed: of the dequantisation noise.
        root: folder of all data; $INVARIANCES_DATA or the user's cache folder if `None`.
    """

    def __init__(
        self,
        size: int = 64,
        crop: int = 160,
        on_error: OnError = "raise",
        seed: int = 0,
        root: str | None = None,
    ) -> None:
        super().__init__(celeba("train", root), Square(size, crop), on_error, seed, root)


class CelebATest(PictureSet):
    """10,000 faces of the test split; each example always the same."""

    def __init__(
        self, size: int = 64, crop: int = 160, on_error: OnError = "raise", root: str | None = None
    ) -> None:
        super().__init__(celeba("test", root), Square(size, crop), on_error, None, root)


class FactorPairs(BatchedDataset):
    """Pairs of images that share the value of one label, drawn for each pair.

    Factor k: the partner has the same value of the k-th label; where no other image has it, it is the image
    again. An example has `factor`, `example1` and `example2` (3, H, W), float32 in [-1, 1), and `value`, the
    shared value. (P. Esser, R. Rombach, B. Ommer, "A disentangling invertible interpretation network", CVPR
    2020.)

    Args:
        images: uint8, (N, 3, H, W).
        labels: name -> (N,), int64.
        factors: names of the labels that can be shared, in order.
        seed: of everything drawn; `None` fixes it.

    Raises:
        ValueError: no image, or a factor that is no label.
    """

    def __init__(self, images: Images, labels: Labels, factors: Sequence[str], seed: int | None) -> None:
        super().__init__(len(images), labels, seed)
        unknown = sorted(set(factors) - set(labels))
        if unknown or not factors:
            raise ValueError(f"factors {list(factors)} are expected among {sorted(labels)}; unknown: {unknown}")
        self.images = images
        self.factors = list(factors)
        self._pair_sampler = [PairSampler(labels[name], name) for name in factors]

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """`factor`, both examples and the value they share."""
        factor = streams.below("factor", len(self.factors))
        drawn = factor, np.arange(len(index))
        partner = np.stack([partners.same(index, streams) for partners in self._pair_sampler])[drawn]
        value = np.stack([self.labels[name].numpy()[index] for name in self.factors])[drawn]
        return {
            "factor": torch.from_numpy(factor),
            "example1": dequantize(self.images[index], streams, "dequantisation1"),
            "example2": dequantize(self.images[partner], streams, "dequantisation2"),
            "value": torch.from_numpy(value),
        }


class FactorCelebATrain(FactorPairs):
    """Pairs of faces that share an attribute: `factor`, `example1`, `example2`, `value`.

    Args:
        factors: the attributes, in the order of their numbers.
        size, crop, on_error, seed, root: as for `CelebATrain`.
    """

    def __init__(
        self,
        factors: Sequence[str] = FACTORS,
        size: int = 64,
        crop: int = 160,
        on_error: OnError = "raise",
        seed: int = 0,
        root: str | None = None,
    ) -> None:
        images, faces, _ = cached(celeba("train", root), Square(size, crop), on_error, root)
        super().__init__(images, faces.labels, factors, seed)


class FactorCelebATest(FactorPairs):
    """Pairs of the faces of the test split, always the same."""

    def __init__(
        self,
        factors: Sequence[str] = FACTORS,
        size: int = 64,
        crop: int = 160,
        on_error: OnError = "raise",
        root: str | None = None,
    ) -> None:
        images, faces, _ = cached(celeba("test", root), Square(size, crop), on_error, root)
        super().__init__(images, faces.labels, factors, None)
