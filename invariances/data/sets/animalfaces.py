"""Faces of animals, cropped out of the training pictures of ImageNet: `<root>/animalfaces/`.

Either `<wnid>/*.jpg` are the crops; or a list, any .txt file there, names them, one a line, and they are cut
out of `<root>/imagenet/train`. A name is the picture's and its box: `n02099601_101.JPEG_x1_y1_x2_y2.jpg`.
Classes are the 149 carnivores, numbered as in `ImageNetAnimalsTrain`. (M.-Y. Liu et al., "Few-shot
unsupervised image-to-image translation", ICCV 2019, has made the crops.)
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64

from invariances.data.archives import MissingFiles
from invariances.data.cache import OnError, PictureFiles, PictureSet
from invariances.data.pictures import Square
from invariances.data.sets.folder import labelled
from invariances.data.sets.imagenet import ANIMALS
from invariances.utils.files import data_root, read_lines

Split = Literal["train", "test"]

RESTRICTED = (
    "n02099601",  # golden retriever
    "n02114548",  # white wolf
    "n02117135",  # hyena
    "n02119022",  # red fox
    "n02123159",  # tiger cat
    "n02127052",  # lynx
    "n02128757",  # snow leopard
    "n02129165",  # lion
    "n02132136",  # brown bear
    "n02138441",  # meerkat
)

_CROP = re.compile(r"(n\d{8})_(\d+)\.JPEG_(\d+)_(\d+)_(\d+)_(\d+)\.jpg")


def animal_faces(root: str | Path | None = None) -> PictureFiles:
    """All faces, by class and name, with their class among the 149.

    Raises:
        MissingFiles: says what can be put where.
    """
    home = data_root(root) / "animalfaces"
    if any((home / wnid).is_dir() for wnid in ANIMALS):
        return labelled("animalfaces", home, ANIMALS)
    names = [name for listed in sorted(home.glob("*.txt")) for name in read_list(listed) if name[1] in ANIMALS]
    if not names:
        raise MissingFiles(
            f"{home} has neither folders of crops of carnivores, such as {RESTRICTED[0]}/, nor a .txt file of "
            "them, such as n02099601_101.JPEG_208_24_445_304.jpg. Put one there, or let INVARIANCES_DATA name the "
            "folder that holds animalfaces/"
        )
    return cut_out(names, data_root(root) / "imagenet" / "train")


def read_list(path: Path) -> list[re.Match[str]]:
    """The names of crops in a list, wherever they stand in their lines."""
    return [match for line in read_lines(path) if (match := _CROP.search(line))]


def cut_out(names: list[re.Match[str]], pictures: Path) -> PictureFiles:
    """The named crops as boxes in the pictures of ImageNet.

    Raises:
        MissingFiles: the pictures are not there.
    """
    if not pictures.is_dir():
        raise MissingFiles(f"faces are to be cut out of {pictures}, which is not there; see ImageNetTrain")
    rows = sorted({match.groups() for match in names})
    paths = [str(pictures / wnid / f"{wnid}_{number}.JPEG") for wnid, number, *_ in rows]
    boxes = np.array([[int(side) for side in box] for _, _, *box in rows])
    classes = torch.tensor([ANIMALS.index(wnid) for wnid, *_ in rows])
    return PictureFiles("animalfaces", paths, {"class": classes}, boxes)


def by_class(split: Split, root: str | Path | None = None) -> PictureFiles:
    """Faces of the classes on one side: to test are those in a list named *test.txt, else every fifth class.

    Raises:
        MissingFiles: there is none.
    """
    faces = animal_faces(root)
    lists = sorted((data_root(root) / "animalfaces").glob("*test.txt"))
    listed = {match[1] for path in lists for match in read_list(path)} or set(ANIMALS[::5])
    is_test = np.array([wnid in listed for wnid in ANIMALS])[faces.labels["class"].numpy()]
    return _some(faces, is_test == (split == "test"))


def by_picture(split: Split, root: str | Path | None = None) -> PictureFiles:
    """Faces of all classes on both sides: to test is every tenth of a class, from its second on.

    Raises:
        MissingFiles: there is none.
    """
    faces = animal_faces(root)
    is_test = _rank(faces.labels["class"].numpy()) % 10 == 1
    return _some(faces, is_test == (split == "test"))


def restricted(split: Split, root: str | Path | None = None) -> PictureFiles:
    """As `by_picture`, ten classes only, numbered 0 … 9.

    Raises:
        MissingFiles: there is none.
    """
    faces = by_picture(split, root)
    numbers = torch.tensor([RESTRICTED.index(wnid) if wnid in RESTRICTED else -1 for wnid in ANIMALS])
    classes = numbers[faces.labels["class"]]
    return _some(replace(faces, labels={"class": classes}), (classes >= 0).numpy())


def _rank(classes: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Position of each among those of its class; classes are sorted."""
    return np.arange(len(classes)) - np.searchsorted(classes, classes)


def _some(faces: PictureFiles, chosen: Bool[np.ndarray, " n"]) -> PictureFiles:
    if not chosen.any():
        raise MissingFiles(f"none of the {len(faces)} faces at {Path(faces.paths[0]).parent} is of this set")
    return faces.take(np.flatnonzero(chosen))


class AnimalFacesTrain(PictureSet):
    """Faces of 119 classes to train on: `image` (3, size, size) in [-1, 1), `class` in {0 … 148}.

    Args:
        size: of the images in pixels: the centre square of the crop, resized.
        on_error: what to do about broken files, see `PictureSet`.
        seed: of the dequantisation noise.
        root: folder of all data; $INVARIANCES_DATA or the user's cache folder if `None`.
    """

    def __init__(
        self, size: int = 128, on_error: OnError = "raise", seed: int = 0, root: str | None = None
    ) -> None:
        super().__init__(by_class("train", root), Square(size), on_error, seed, root)


class AnimalFacesTest(PictureSet):
    """Faces of the other 30 classes; each example always the same."""

    def __init__(self, size: int = 128, on_error: OnError = "raise", root: str | None = None) -> None:
        super().__init__(by_class("test", root), Square(size), on_error, None, root)


class AnimalFacesSharedTrain(PictureSet):
    """Nine tenths of the faces of each of the 149 classes; arguments as `AnimalFacesTrain`."""

    def __init__(
        self, size: int = 128, on_error: OnError = "raise", seed: int = 0, root: str | None = None
    ) -> None:
        super().__init__(by_picture("train", root), Square(size), on_error, seed, root)


class AnimalFacesSharedTest(PictureSet):
    """One tenth of the faces of each of the 149 classes; each example always the same."""

    def __init__(self, size: int = 128, on_error: OnError = "raise", root: str | None = None) -> None:
        super().__init__(by_picture("test", root), Square(size), on_error, None, root)


class AnimalFacesRestrictedTrain(PictureSet):
    """Nine tenths of the faces of ten classes, `class` in {0 … 9}; arguments as `AnimalFacesTrain`."""

    def __init__(
        self, size: int = 128, on_error: OnError = "raise", seed: int = 0, root: str | None = None
    ) -> None:
        super().__init__(restricted("train", root), Square(size), on_error, seed, root)


class AnimalFacesRestrictedTest(PictureSet):
    """One tenth of the faces of ten classes; each example always the same."""

    def __init__(self, size: int = 128, on_error: OnError = "raise", root: str | None = None) -> None:
        super().__init__(restricted("test", root), Square(size), on_error, None, root)
