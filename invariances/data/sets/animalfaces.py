"""Faces of animals, cropped from the training pictures of ImageNet: `<root>/animalfaces/`.

Either the folder holds the crops, `<wnid>/*.jpg`; or any .txt file in it lists them, one per line, and they are
cropped from `<root>/imagenet/train`. A crop is named after its picture and box:
`n02099601_101.JPEG_x1_y1_x2_y2.jpg`. Classes are the 149 carnivores, numbered as in `ImageNetAnimalsTrain`. The
crops are those of M.-Y. Liu et al., "Few-shot unsupervised image-to-image translation", ICCV 2019.
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
    """List all faces, sorted by class and name, with their class in {0 … 148}.

    Raises:
        MissingFiles: names the files that are needed and where they go.
    """
    home = data_root(root) / "animalfaces"
    if any((home / wnid).is_dir() for wnid in ANIMALS):
        return labelled("animalfaces", home, ANIMALS)
    crops = [crop for path in sorted(home.glob("*.txt")) for crop in read_list(path) if crop[1] in ANIMALS]
    if not crops:
        raise MissingFiles(
            f"{home} has neither folders of crops of carnivores, such as {RESTRICTED[0]}/, nor a .txt file of "
            "them, such as n02099601_101.JPEG_208_24_445_304.jpg. Put one there, or let INVARIANCES_DATA name the "
            "folder that holds animalfaces/"
        )
    return cropped(crops, data_root(root) / "imagenet" / "train")


def read_list(path: Path) -> list[re.Match[str]]:
    """Find the names of crops in a list, one per line, anywhere in the line."""
    return [match for line in read_lines(path) if (match := _CROP.search(line))]


def cropped(crops: list[re.Match[str]], pictures: Path) -> PictureFiles:
    """Turn names of crops into boxes in the pictures of ImageNet.

    Raises:
        MissingFiles: the folder of these pictures does not exist.
    """
    if not pictures.is_dir():
        raise MissingFiles(f"faces are cropped from {pictures}, which is not there; see ImageNetTrain")
    rows = sorted({match.groups() for match in crops})
    paths = [str(pictures / wnid / f"{wnid}_{number}.JPEG") for wnid, number, *_ in rows]
    boxes = np.array([[int(side) for side in box] for _, _, *box in rows])
    classes = torch.tensor([ANIMALS.index(wnid) for wnid, *_ in rows])
    return PictureFiles("animalfaces", paths, {"class": classes}, boxes)


def by_class(split: Split, root: str | Path | None = None) -> PictureFiles:
    """Split the faces by class: the test classes are those in a list named *test.txt, else every fifth class.

    Raises:
        MissingFiles: the split is empty.
    """
    faces = animal_faces(root)
    lists = sorted((data_root(root) / "animalfaces").glob("*test.txt"))
    test_classes = {crop[1] for path in lists for crop in read_list(path)} or set(ANIMALS[::5])
    is_test = np.array([wnid in test_classes for wnid in ANIMALS])[faces.labels["class"].numpy()]
    return _select(faces, is_test == (split == "test"))


def by_picture(split: Split, root: str | Path | None = None) -> PictureFiles:
    """Split the faces of each class: every tenth, from the second on, is a test example.

    Raises:
        MissingFiles: the split is empty.
    """
    faces = animal_faces(root)
    is_test = _rank(faces.labels["class"].numpy()) % 10 == 1
    return _select(faces, is_test == (split == "test"))


def restricted(split: Split, root: str | Path | None = None) -> PictureFiles:
    """Split as `by_picture`, with the ten classes `RESTRICTED` only, numbered 0 … 9.

    Raises:
        MissingFiles: the split is empty.
    """
    faces = by_picture(split, root)
    numbers = torch.tensor([RESTRICTED.index(wnid) if wnid in RESTRICTED else -1 for wnid in ANIMALS])
    classes = numbers[faces.labels["class"]]
    return _select(replace(faces, labels={"class": classes}), (classes >= 0).numpy())


def _rank(classes: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Rank of each example within its class; `classes` is sorted."""
    return np.arange(len(classes)) - np.searchsorted(classes, classes)


def _select(faces: PictureFiles, chosen: Bool[np.ndarray, " n"]) -> PictureFiles:
    if not chosen.any():
        raise MissingFiles(f"none of the {len(faces)} faces at {Path(faces.paths[0]).parent} is in this data set")
    return faces.take(np.flatnonzero(chosen))


class AnimalFacesTrain(PictureSet):
    """Faces of the 119 training classes: `image` (3, size, size) in [-1, 1), `class` in {0 … 148}.

    Args:
        size: of the images in pixels; each is the centre square of the crop, resized.
        on_error: "raise" an error about broken files, or "skip" them; see `PictureSet`.
        seed: of dequantisation noise, crops and mirror images.
        root: data folder; $INVARIANCES_DATA or the user's cache folder if `None`.
        margin: pixels by which the resized square is larger than the image, which is cut out of it at random.
        flip: mirror half of the images at random, left to right.
    """

    def __init__(
        self,
        size: int = 128,
        on_error: OnError = "raise",
        seed: int = 0,
        root: str | None = None,
        margin: int = 0,
        flip: bool = False,
    ) -> None:
        super().__init__(by_class("train", root), Square(size), on_error, seed, root, margin, flip)


class AnimalFacesTest(PictureSet):
    """Faces of the 30 test classes; each example is the same in every epoch and run."""

    def __init__(
        self, size: int = 128, on_error: OnError = "raise", root: str | None = None, margin: int = 0
    ) -> None:
        super().__init__(by_class("test", root), Square(size), on_error, None, root, margin)


class AnimalFacesSharedTrain(PictureSet):
    """Nine tenths of the faces of each of the 149 classes; arguments as `AnimalFacesTrain`."""

    def __init__(
        self,
        size: int = 128,
        on_error: OnError = "raise",
        seed: int = 0,
        root: str | None = None,
        margin: int = 0,
        flip: bool = False,
    ) -> None:
        super().__init__(by_picture("train", root), Square(size), on_error, seed, root, margin, flip)


class AnimalFacesSharedTest(PictureSet):
    """One tenth of the faces of each of the 149 classes; each example is the same in every epoch and run."""

    def __init__(
        self, size: int = 128, on_error: OnError = "raise", root: str | None = None, margin: int = 0
    ) -> None:
        super().__init__(by_picture("test", root), Square(size), on_error, None, root, margin)


class AnimalFacesRestrictedTrain(PictureSet):
    """Nine tenths of the faces of ten classes, `class` in {0 … 9}; arguments as `AnimalFacesTrain`."""

    def __init__(
        self,
        size: int = 128,
        on_error: OnError = "raise",
        seed: int = 0,
        root: str | None = None,
        margin: int = 0,
        flip: bool = False,
    ) -> None:
        super().__init__(restricted("train", root), Square(size), on_error, seed, root, margin, flip)


class AnimalFacesRestrictedTest(PictureSet):
    """One tenth of the faces of ten classes; each example is the same in every epoch and run."""

    def __init__(
        self, size: int = 128, on_error: OnError = "raise", root: str | None = None, margin: int = 0
    ) -> None:
        super().__init__(restricted("test", root), Square(size), on_error, None, root, margin)
