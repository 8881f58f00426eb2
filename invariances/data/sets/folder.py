"""A person's own pictures: a folder of them, with or without sub-folders as classes."""

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import torch

from invariances.data.archives import MissingFiles
from invariances.data.cache import OnError, PictureFiles, PictureSet
from invariances.data.pictures import ENDINGS, Square, list_pictures, unlisted

logger = logging.getLogger(__name__)

PARTS = ("train", "val", "validation", "test")  # the first numbers the classes of all


def _existing(folder: str | Path) -> Path:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise MissingFiles(f"the folder {path} is not there" if not path.exists() else f"{path} is no folder")
    return path


def _some(paths: list[Path], folder: Path) -> list[str]:
    if not paths:
        raise MissingFiles(f"{folder} holds no picture; files ending in {' '.join(ENDINGS)} are looked for")
    return [str(path) for path in paths]


class Folder(PictureSet):
    """Every picture below a folder, by sorted path: `image` (3, size, size), float32 in [-1, 1).

    Pictures of any kind and size are read as `invariances.data.pictures` states: the centre square, resized.

    Args:
        folder: is searched with all its sub-folders, but for hidden ones.
        size: of the images in pixels.
        crop: side in pixels of the centre square that is kept; the short side of each picture if `None`.
        on_error: broken files stop it ("raise") or are left out ("skip").
        seed: of the dequantisation noise; `None` fixes it, as a validation set wants.
        root: folder of all data, for the cache; $INVARIANCES_DATA or the user's cache folder if `None`.

    Raises:
        MissingFiles: no such folder, or no picture in it.
        BrokenPicture: by full path, if `on_error` is "raise".
    """

    def __init__(
        self,
        folder: str,
        size: int = 128,
        crop: int | None = None,
        on_error: OnError = "raise",
        seed: int | None = 0,
        root: str | None = None,
    ) -> None:
        path = _existing(folder)
        pictures = PictureFiles(path.absolute().name, _some(list_pictures(path), path), {})
        super().__init__(pictures, Square(size, crop), on_error, seed, root)


class LabelFolder(PictureSet):
    """Pictures in sub-folders that name their classes: `image` (3, size, size) and `class`.

    Classes are numbered by sorted name. Hidden sub-folders do not count, nor those without a picture. Where
    the folder is a part (train, val, validation, test) beside others, its classes are the sub-folders of
    train that hold a picture in any part: all parts number alike.

    Args:
        folder: has one sub-folder for each class.
        classes: names of the classes in the order of their numbers, in place of the rule above; one without a
            folder in any part is warned of.
        n_classes: number of classes that is expected; any if `None`.
        size, crop, on_error, seed, root: as for `Folder`.

    Attributes:
        classes: names of the classes.

    Raises:
        MissingFiles: no such folder, no class folders, or no picture in them.
        ValueError: a class that is no name of a sub-folder, or there twice; a class folder that is not among
            the classes, or cannot be listed; another number of them than expected.
        BrokenPicture: by full path, if `on_error` is "raise".
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
    ) -> None:
        path = _existing(folder)
        self.classes = _checked(classes, path) if classes is not None else class_names(path)
        if n_classes is not None and n_classes != len(self.classes):
            raise ValueError(f"n_classes is {n_classes}, but {path} has {len(self.classes)}: {self.classes}")
        _refuse_strangers(path, self.classes)
        pictures = labelled(path.absolute().name, path, self.classes)
        super().__init__(pictures, Square(size, crop), on_error, seed, root)


def class_names(folder: Path) -> list[str]:
    """Names of the classes of a folder, sorted; see `LabelFolder`.

    Raises:
        MissingFiles: there are none.
    """
    parts = _parts(folder)
    names = [name for name in sub_folders(parts[0]) if any(list_pictures(part / name) for part in parts)]
    if not names:
        raise MissingFiles(
            f"{parts[0]} has no sub-folders with pictures ({' '.join(ENDINGS)}), which would be the classes; "
            "use Folder for pictures without classes"
        )
    return names


def _parts(folder: Path) -> list[Path]:
    """The folder and those beside it, if it is a part; or itself."""
    beside = [folder.absolute().parent / part for part in PARTS]
    return [part for part in beside if part.is_dir()] if folder.absolute() in beside else [folder]


def _checked(classes: Sequence[str], folder: Path) -> list[str]:
    """The classes that a person names, if each can be a sub-folder of its own."""
    names = list(classes)
    wrong = [name for name in names if Path(name).name != name or name[:1] in ("", ".") or names.count(name) > 1]
    if wrong:
        raise ValueError(f"classes are expected to be names of sub-folders of {folder}, each once; mend {wrong}")
    parts = _parts(folder)
    for name in names:
        if not any((part / name).is_dir() for part in parts):
            near = get_close_matches(name, sub_folders(folder), n=1, cutoff=0) or ["none"]
            logger.warning("%s has no folder for the class %r; the nearest is %s", folder, name, near[0])
    return names


def sub_folders(folder: Path) -> list[str]:
    """Names of the sub-folders, sorted; nothing hidden, and no link to the folder itself or one above it.

    Raises:
        ValueError: the folder cannot be listed.
    """
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise unlisted(error) from error
    return sorted(path.name for path in found if not folder.resolve().is_relative_to(path.resolve()))


def labelled(name: str, folder: Path, classes: Sequence[str]) -> PictureFiles:
    """The pictures in the sub-folders `classes`, with their position among these as label `class`.

    Raises:
        MissingFiles: there is none.
    """
    found = [(path, k) for k, label in enumerate(classes) for path in list_pictures(folder / label)]
    paths = _some([path for path, _ in found], folder)
    return PictureFiles(name, paths, {"class": torch.tensor([k for _, k in found])})


def _refuse_strangers(folder: Path, classes: Sequence[str]) -> None:
    strangers = [s for s in sub_folders(folder) if s not in classes and list_pictures(folder / s)]
    if strangers:
        raise ValueError(f"{folder} has {strangers}, which are not among the classes {list(classes)}")
