"""Data sets from a folder of pictures, with or without sub-folders as classes."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from invariances.data.archives import MissingFiles
from invariances.data.cache import OnError, PictureFiles, PictureSet
from invariances.data.pictures import ENDINGS, Square, list_pictures, unlisted
from invariances.errors import InvalidInput
from invariances.utils.names import nearest

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "validation", "test")  # the first one that exists numbers the classes of all


def _existing(folder: str | Path) -> Path:
    """The folder, if it exists."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise MissingFiles(f"the folder {path} is not there" if not path.exists() else f"{path} is no folder")
    return path


def _nonempty(paths: list[Path], folder: Path) -> list[str]:
    """The paths, if there are any."""
    if not paths:
        raise MissingFiles(f"{folder} holds no picture; expected files ending in {' '.join(ENDINGS)}")
    return [str(path) for path in paths]


class Folder(PictureSet):
    """All pictures below a folder, sorted by path: `image` (3, size, size), float32 in [-1, 1).

    `invariances.data.pictures` states how pictures of all formats and sizes are read.

    Args:
        folder: is searched with all its sub-folders, except hidden ones.
        size: of the images in pixels.
        crop: side in pixels of the centre square that is used; the short side of each picture if `None`.
        on_error: broken files raise an error ("raise") or are left out ("skip").
        seed: of dequantisation noise, crops and mirror images; `None` fixes them, as for a validation set.
        root: data folder, which holds the cache; $INVARIANCES_DATA or the user's cache folder if `None`.
        margin: pixels by which the resized square is larger than the image, which is cut out of it at random.
        flip: mirror half of the images at random, left to right.

    Raises:
        MissingFiles: the folder does not exist or has no pictures.
        BrokenPicture: names the broken files, if `on_error` is "raise".

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> home = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (30, 20)).save(home / "cat.png")
        >>> data = Folder(str(home), size=16, root=str(home / "data"))
        >>> len(data), data[0]["image"].shape
        (1, torch.Size([3, 16, 16]))
    """

    def __init__(
        self,
        folder: str,
        size: int = 128,
        crop: int | None = None,
        on_error: OnError = "raise",
        seed: int | None = 0,
        root: str | None = None,
        margin: int = 0,
        flip: bool = False,
    ) -> None:
        path = _existing(folder)
        pictures = PictureFiles(path.absolute().name, _nonempty(list_pictures(path), path), {})
        super().__init__(pictures, Square(size, crop), on_error, seed, root, margin, flip)


class LabelFolder(PictureSet):
    """Pictures in sub-folders that are named after their classes: `image` (3, size, size) and `class`.

    Classes are numbered by sorted name; sub-folders that are hidden or without pictures are ignored. If the
    folder is a split (train, val, validation, test) among others, its classes are the sub-folders of the first
    split in this list that hold a picture in any split, so that all splits have the same numbers.

    Args:
        folder: has one sub-folder per class.
        classes: names of the classes in the order of their numbers, in place of the rule above; a class without
            a folder in any split causes a warning.
        n_classes: expected number of classes; any if `None`.
        size, crop, on_error, seed, root, margin, flip: as for `Folder`.

    Attributes:
        classes: names of the classes.

    Raises:
        MissingFiles: the folder does not exist, has no sub-folders, or no pictures in them.
        InvalidInput: a class that cannot be the name of a sub-folder or is listed twice; a sub-folder that is not
            among the classes or cannot be listed; another number of classes than expected.
        BrokenPicture: names the broken files, if `on_error` is "raise".

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> home = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (home / name).mkdir()
        ...     Image.new("RGB", (30, 20)).save(home / name / "1.png")
        >>> data = LabelFolder(str(home), size=16, root=str(home / ".data"))
        >>> data.classes, data[1]["class"]
        (['cat', 'dog'], tensor(1))
    """

    def __init__(
        self,
        folder: str,
        classes: Sequence[str] | None = None,
        n_classes: int | None = None,
        size: int = 128,
        crop: int | None = None,
        on_error: OnError = "raise",
        seed: int | None = 0,
        root: str | None = None,
        margin: int = 0,
        flip: bool = False,
    ) -> None:
        path = _existing(folder)
        self.classes = _checked(classes, path) if classes is not None else class_names(path)
        if n_classes is not None and n_classes != len(self.classes):
            raise InvalidInput(f"n_classes is {n_classes}, but {path} has {len(self.classes)}: {self.classes}")
        _refuse_unknown_folders(path, self.classes)
        pictures = labelled(path.absolute().name, path, self.classes)
        super().__init__(pictures, Square(size, crop), on_error, seed, root, margin, flip)


def class_names(folder: Path) -> list[str]:
    """Names of the classes of a folder, sorted; see `LabelFolder`.

    Raises:
        MissingFiles: the folder has no classes.
    """
    splits = _splits(folder)
    names = [name for name in sub_folders(splits[0]) if any(list_pictures(split / name) for split in splits)]
    if not names:
        raise MissingFiles(
            f"{splits[0]} has no sub-folders with pictures ({' '.join(ENDINGS)}), expected one per class; "
            "use Folder for pictures without classes"
        )
    return names


def _splits(folder: Path) -> list[Path]:
    """All splits of the same parent folder if `folder` is a split; else `folder` alone."""
    splits = [folder.absolute().parent / name for name in SPLITS]
    return [split for split in splits if split.is_dir()] if folder.absolute() in splits else [folder]


def _checked(classes: Sequence[str], folder: Path) -> list[str]:
    """The classes that a user names, if each can be a sub-folder of its own."""
    names = list(classes)
    wrong = [name for name in names if Path(name).name != name or name[:1] in ("", ".") or names.count(name) > 1]
    if wrong:
        raise InvalidInput(f"expected classes to be names of sub-folders of {folder}, each once; correct {wrong}")
    splits = _splits(folder)
    for name in names:
        if not any((split / name).is_dir() for split in splits):
            near = nearest(name, sub_folders(folder), cutoff=0.0)
            logger.warning("%s has no folder for the class %r; the nearest is %s", folder, name, near or "none")
    return names


def sub_folders(folder: Path) -> list[str]:
    """Names of the sub-folders, sorted; without hidden ones and links to the folder itself or its parents.

    Raises:
        InvalidInput: the folder cannot be listed.
    """
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise unlisted(error) from error
    return sorted(path.name for path in found if not folder.resolve().is_relative_to(path.resolve()))


def labelled(name: str, folder: Path, classes: Sequence[str]) -> PictureFiles:
    """List the pictures in the sub-folders `classes`; the label `class` is the index of the sub-folder.

    Raises:
        MissingFiles: there are no pictures.
    """
    found = [(path, k) for k, label in enumerate(classes) for path in list_pictures(folder / label)]
    paths = _nonempty([path for path, _ in found], folder)
    return PictureFiles(name, paths, {"class": torch.tensor([k for _, k in found])})


def _refuse_unknown_folders(folder: Path, classes: Sequence[str]) -> None:
    unknown = [name for name in sub_folders(folder) if name not in classes and list_pictures(folder / name)]
    if unknown:
        raise InvalidInput(f"{folder} has {unknown}, which are not among the classes {list(classes)}")
