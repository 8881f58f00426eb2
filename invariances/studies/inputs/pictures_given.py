"""The images of a study: where they come from, and how they are split into training and validation."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invariances.config.allowing import lies_here, remember
from invariances.config.building import PART, build_dataset
from invariances.config.classes import locate
from invariances.config.nodes import class_and_arguments
from invariances.config.reading import parse
from invariances.config.signatures import mistakes, parameters
from invariances.data.part import split_rows
from invariances.data.pictures import BrokenPicture, list_pictures, load_picture
from invariances.data.sets.folder import SPLITS, sub_folders
from invariances.errors import UserError
from invariances.utils.names import class_hint, nearest

FRACTION = 0.1  # of the images for validation, at least `LEAST_HELD_OUT` of them
LEAST_HELD_OUT = 100
MOST_FRACTION = 0.3
LEAST = 20  # images of a study
LOOKED_AT = 32  # pictures whose size is read
TWINS = {"Train": ("Test", "Validation"), "train": ("test", "validation")}
SIDES: dict[str, tuple[Any, tuple[Any, ...]]] = {  # arguments of a constructor: for training, and else
    "split": ("train", ("validation", "val", "test")),
    "train": (True, (False,)),
}

Spec = dict[str, Any]


@dataclass(frozen=True)
class GivenImages:
    """The images of a study.

    Attributes:
        train, validation: data sets as in a config, without `size` and `channels`.
        n_train, n_validation: numbers of their images.
        shape: (C, H, W) of an image, or of the smallest usual one where pictures differ.
        sizes: whether the data set takes a `size`.
        classes: number of classes; None without labels.
        class_names: their names, if folders have them.
        notes: what was decided, a sentence each.
    """

    train: Spec
    validation: Spec
    n_train: int
    n_validation: int
    shape: tuple[int, int, int]
    sizes: bool
    classes: int | None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def spec(self, split: str, size: int, channels: int, n_images: int | None = None) -> Spec:
        """A data set of the config, for images of a size and a number of channels.

        Args:
            split: train or validation.
            size: side in pixels.
            channels: of the images.
            n_images: at most so many.
        """
        spec = dict(self.train if split == "train" else self.validation)
        part = dict(spec.pop("part", {}))
        total = self.n_train if split == "train" else self.n_validation
        if n_images is not None and n_images < total:
            part["n_images"] = n_images
        if channels != self.shape[0]:
            part["channels"] = channels
        return spec | ({"size": size} if self.sizes else {}) | ({"part": part} if part else {})

    def examples(self, split: str, size: int, channels: int, n: int) -> tuple[Tensor, Tensor | None]:
        """Some images, (n, C, size, size), and their classes."""
        dataset = built(self.spec(split, size, channels, n))
        batch = examples_of(dataset, np.linspace(0, len(dataset) - 1, min(n, len(dataset))).astype(int).tolist())
        labels = batch.get("class")
        return batch["image"], labels if labels is not None and not labels.is_floating_point() else None


def built(spec: Mapping[str, Any]) -> Any:
    """The data set that a config describes."""
    return build_dataset({"datasets": {"examples": spec}}, "examples")


def examples_of(dataset: Any, rows: Sequence[int]) -> dict[str, Tensor]:
    """A batch of examples.

    Raises:
        UserError: they are no dicts with a tensor `image`.
    """
    batch = dataset.__getitems__(rows) if hasattr(dataset, "__getitems__") else [dataset[row] for row in rows]
    if not isinstance(batch, dict):
        if not isinstance(batch[0], Mapping):
            kind = type(batch[0]).__name__
            raise UserError(f"--data: an example is a {kind}; expected a dict with a tensor `image` in [-1, 1]")
        batch = {key: torch.stack([torch.as_tensor(each[key]) for each in batch]) for key in batch[0]}
    image = batch.get("image")
    if not isinstance(image, Tensor) or image.ndim != 4 or not image.is_floating_point():
        found = f"{tuple(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else f"keys {', '.join(batch)}"
        raise UserError(f"--data: an example has {found}; expected `image`, floats (C, H, W) in [-1, 1]")
    return batch


def given_images(data: str) -> GivenImages:
    """Find the images.

    Raises:
        UserError: no such folder or class; fewer images than a split needs.
    """
    found = _of_folder(Path(data)) if Path(data).is_dir() else _of_class(data)
    total = found.n_train + found.n_validation
    if total < LEAST or found.n_validation < 2:
        raise UserError(f"--data {data}: has {total} pictures; expected at least {LEAST}, and hundreds to learn from")
    return found


def _of_folder(folder: Path) -> GivenImages:
    splits = [folder / name for name in SPLITS if (folder / name).is_dir()]
    if len(splits) > 1 and splits[0].name == "train":
        return _two_folders(splits[0], splits[1])
    names = [name for name in sub_folders(folder) if list_pictures(folder / name)]
    classes = tuple(names) if len(names) > 1 else ()
    pictures = list_pictures(folder)
    if not pictures:
        raise UserError(f"--data {folder}: holds no picture; expected a folder of pictures, or of folders of pictures")
    if any(path.parent == folder for path in pictures):  # some lie beside the folders
        classes = ()
    rows = [names.index(path.relative_to(folder).parts[0]) for path in pictures] if classes else []
    name = "LabelFolder" if classes else "Folder"
    spec = {"class": f"invariances.data.{name}", "folder": str(folder), "on_error": "skip"}
    fraction = _fraction(len(pictures))
    sides = split_rows(np.array(rows) if rows else np.zeros(len(pictures), dtype=int), fraction, seed=0)
    notes = [f"{fraction:.0%} of the pictures{' of each class' if classes else ''} are held out for validation"]
    if len(names) == 1:
        notes.append(f"the only sub-folder, {names[0]}, is no class: pictures are studied without labels")
    return GivenImages(
        spec | {"part": {"split": "train", "fraction": fraction}},
        spec | {"seed": None, "part": {"split": "validation", "fraction": fraction}},
        len(sides["train"]),
        len(sides["validation"]),
        (3, *_usual_sides(pictures)),
        True,
        len(classes) or None,
        classes,
        tuple(notes),
    )


def _two_folders(train: Path, validation: Path) -> GivenImages:
    """Folders named after splits."""
    names = [name for name in sub_folders(train) if list_pictures(train / name)]
    spec = {"class": f"invariances.data.{'LabelFolder' if len(names) > 1 else 'Folder'}", "on_error": "skip"}
    pictures, held_out = list_pictures(train), list_pictures(validation)
    return GivenImages(
        spec | {"folder": str(train)},
        spec | {"folder": str(validation), "seed": None},
        len(pictures),
        len(held_out),
        (3, *_usual_sides(pictures or held_out)),
        True,
        len(names) if len(names) > 1 else None,
        tuple(names) if len(names) > 1 else (),
        (f"trained on {train}, validated on {validation}",),
    )


def _fraction(n: int) -> float:
    """Share for validation: a tenth, or more of few images."""
    return round(min(max(FRACTION, LEAST_HELD_OUT / n), MOST_FRACTION), 3)


def _usual_sides(pictures: Sequence[Path]) -> tuple[int, int]:
    """The median of the shorter sides of some pictures, as a square."""
    chosen = [pictures[row] for row in np.unique(np.linspace(0, len(pictures) - 1, LOOKED_AT).astype(int))]
    sides = []
    for path in chosen:
        with suppress(BrokenPicture):  # the data set names it
            sides.append(min(load_picture(str(path)).size))
    if not sides:
        raise UserError(f"{chosen[0]}: none of {len(chosen)} pictures can be read")
    return (round(statistics.median(sides)),) * 2


def _of_class(data: str) -> GivenImages:
    path, arguments = class_and_arguments(parse(data, "--data") if data.startswith("{") else data)
    dotted = str(path).replace(":", ".")
    if "." not in dotted or "/" in dotted:
        expected = f"expected a folder, or a data set such as my_data.Photos{class_hint(data)}"
        raise UserError(f"--data {data}: no such folder{_near_folder(data)}; {expected}")
    if lies_here(module := dotted.rpartition(".")[0]):
        remember({module})
    own = locate(dotted, "--data")
    for mistake in mistakes(own, arguments, "--data", given=(PART,)):
        raise UserError(f'{mistake}; arguments are written as "{{class: {dotted}, ARGUMENT: VALUE}}"')
    train, validation, notes = _sides(dotted, own, arguments)
    first = built(train)
    held_out = built(validation)
    image = examples_of(first, [0])["image"][0]
    labels = getattr(first, "labels", {})
    classes = labels.get("class") if isinstance(labels, Mapping) else None
    return GivenImages(
        train,
        validation,
        len(first),
        len(held_out),
        (image.shape[0], image.shape[1], image.shape[2]),
        "size" in parameters(own)[0],
        None if classes is None else int(classes.max()) + 1,
        (),
        notes,
    )


def _near_folder(data: str) -> str:
    """The end of a message about a folder that is not there."""
    path = Path(data)
    near = nearest(path.name, [folder.name for folder in path.parent.glob("*") if folder.is_dir()])
    return f"; did you mean {path.with_name(near)}?" if near else ""


def _sides(dotted: str, own: type, arguments: Spec) -> tuple[Spec, Spec, tuple[str, ...]]:
    """Training and validation: two classes of one stem, two values of an argument, or a random split."""
    module = sys.modules[own.__module__]
    for end, others in TWINS.items():
        for other in others if own.__name__.endswith(end) else ():
            name = own.__name__.removesuffix(end) + other
            if hasattr(module, name):
                twin = f"{dotted.rpartition('.')[0]}.{name}"
                return {"class": dotted, **arguments}, {"class": twin, **arguments}, (f"validated on its twin {name}",)
    accepted = parameters(own)[0]
    fixed = {"seed": None} if "seed" in accepted else {}
    for argument, (value, others) in SIDES.items():
        for other in others if argument in accepted and argument not in arguments else ():
            sides: list[Spec] = [{"class": dotted, **arguments, argument: side} for side in (value, other)]
            if _can_be_built(sides[1]):
                return sides[0], sides[1] | fixed, (f"validated on {argument}: {other}",)
    fraction = _fraction(len(built({"class": dotted, **arguments})))
    train, validation = (
        {"class": dotted, **arguments, "part": {"split": side, "fraction": fraction}}
        for side in ("train", "validation")
    )
    return train, validation | fixed, (f"{fraction:.0%} of the examples are held out for validation",)


def _can_be_built(spec: Spec) -> bool:
    try:
        return len(built(spec)) > 0
    except (UserError, KeyError):
        return False


def at_size(images: GivenImages, size: int) -> GivenImages:
    """The same images where another size was asked for."""
    return replace(images, shape=(images.shape[0], size, size)) if images.sizes else images
