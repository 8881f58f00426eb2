"""ImageNet (ILSVRC 2012) in torchvision's layout, `<root>/imagenet/{train,val}/<wnid>/`; its animals.

Classes are numbered by sorted WordNet id, as in pretrained classifiers, whichever folders exist. (O.
Russakovsky et al., "ImageNet large scale visual recognition challenge", IJCV 2015.)
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal

import torch

from invariances.data.archives import MissingFiles, unpack_archive
from invariances.data.cache import OnError, PictureFiles, PictureSet
from invariances.data.pictures import Square
from invariances.data.sets.folder import labelled
from invariances.errors import InvalidInput
from invariances.utils.files import data_root

Split = Literal["train", "validation"]

WNIDS = files(__package__).joinpath("imagenet_wnids.txt").read_text().split()
ANIMALS = WNIDS[151:300]  # the 149 carnivores, Chihuahua to meerkat

_HELP = (
    "Download ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from "
    "https://image-net.org/download-images and put them there, or let INVARIANCES_DATA name the folder that "
    "holds imagenet/, with train/<wnid>/ and val/<wnid>/ in it"
)


def imagenet(split: Split, classes: Sequence[str], root: str | Path | None = None) -> PictureFiles:
    """List the pictures of these classes (WordNet ids), numbered in this order.

    The archive of the split is unpacked first if its folder does not exist.

    Raises:
        MissingFiles: names the missing files and where they go.
        InvalidInput: an archive is damaged.
    """
    home = data_root(root) / "imagenet"
    folder = home / ("train" if split == "train" else "val")
    if split == "train":
        archive = home / "ILSVRC2012_img_train.tar"
        unpack_archive(folder, archive, _HELP, lambda name: folder / name.split("_")[0] / name)
    else:
        archive = home / "ILSVRC2012_img_val.tar"
        unpack_archive(folder, archive, _HELP, lambda name: folder / _class_of(home, name) / name)
    if not any((folder / wnid).is_dir() for wnid in classes):
        raise MissingFiles(
            f"{folder} has no folder {classes[0]} or another of the {len(classes)} classes. {_HELP}"
        )
    return labelled(f"imagenet-{split}", folder, classes)


def _class_of(home: Path, name: str) -> str:
    """WordNet id of the picture ILSVRC2012_val_<number>.JPEG.

    Raises:
        InvalidInput: there is no picture of this name.
    """
    classes, number = _validation_classes(home), PurePosixPath(name).stem.rpartition("_")[2]
    if not number.isdecimal() or not 0 < int(number) <= len(classes):
        raise InvalidInput(f"{name!r} is none of the {len(classes):,} pictures ILSVRC2012_val_<number>.JPEG")
    return classes[int(number) - 1]


@cache
def _validation_classes(home: Path) -> list[str]:
    """WordNet ids of the validation pictures, in order, from the development kit."""
    from torchvision.datasets.imagenet import META_FILE, parse_devkit_archive

    if not (home / META_FILE).exists():
        try:
            parse_devkit_archive(home)
        except RuntimeError as error:
            raise MissingFiles(f"the classes of the validation pictures: {error}. {_HELP}") from error
    return torch.load(home / META_FILE, weights_only=True)[1]


class ImageNetTrain(PictureSet):
    """The training split, 1.28 million photographs: `image` (3, size, size) in [-1, 1), `class` in {0 … 999}.

    The cache takes 3 size² bytes per image, 63 GB in all at 128 pixels.

    Args:
        size: of the images in pixels; each is the centre square of the photograph, resized.
        on_error: "raise" an error about broken files, or "skip" them; see `PictureSet`.
        seed: of the dequantisation noise.
        root: data folder; $INVARIANCES_DATA or the user's cache folder if `None`.
    """

    def __init__(
        self, size: int = 128, on_error: OnError = "raise", seed: int = 0, root: str | None = None
    ) -> None:
        super().__init__(imagenet("train", WNIDS, root), Square(size), on_error, seed, root)


class ImageNetValidation(PictureSet):
    """The validation split, 50,000 photographs; each example is the same in every epoch and run."""

    def __init__(self, size: int = 128, on_error: OnError = "raise", root: str | None = None) -> None:
        super().__init__(imagenet("validation", WNIDS, root), Square(size), on_error, None, root)


class ImageNetAnimalsTrain(PictureSet):
    """The 149 carnivore classes of the training split: `class` in {0 … 148}; arguments as `ImageNetTrain`."""

    def __init__(
        self, size: int = 128, on_error: OnError = "raise", seed: int = 0, root: str | None = None
    ) -> None:
        super().__init__(imagenet("train", ANIMALS, root), Square(size), on_error, seed, root)


class ImageNetAnimalsValidation(PictureSet):
    """The 7,450 carnivores of the validation split; each example is the same in every epoch and run."""

    def __init__(self, size: int = 128, on_error: OnError = "raise", root: str | None = None) -> None:
        super().__init__(imagenet("validation", ANIMALS, root), Square(size), on_error, None, root)
