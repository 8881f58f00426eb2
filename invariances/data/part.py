"""A part of a data set: one side of a random split, fewer examples, or the same images in grey or in three channels."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from invariances.data.base import Batch
from invariances.errors import InvalidInput
from invariances.utils.arguments import require_at_least

LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601


class Part(Dataset[Batch]):
    """Some examples of a data set, in its order.

    In a config it is the argument `part` of any data set: `train: {class: invariances.data.Folder, folder: my_pictures,
    part: {split: train}}`, and `split: validation` for the other side.

    Args:
        dataset: map-style data set of dicts; with a label `class` in its `labels`, each class is split alike.
        split: which side of a random split; both, if it is None.
        fraction: share of the examples of each class on the side `validation`.
        n_images: at most so many, a random choice; all by default.
        channels: of the images: 1 makes colours grey, 3 repeats grey ones.
        seed: of the split and the choice.

    Raises:
        InvalidInput: fraction outside (0, 1), or a side without any example.

    Example:
        >>> images = [{"image": torch.full((1, 2, 2), float(i))} for i in range(10)]
        >>> train, held_out = (Part(images, split, fraction=0.2) for split in ("train", "validation"))
        >>> len(train), len(held_out), Part(images, channels=3)[4]["image"].shape
        (8, 2, torch.Size([3, 2, 2]))
    """

    def __init__(
        self,
        dataset: Any,
        split: Literal["train", "validation"] | None = None,
        fraction: float = 0.1,
        n_images: int | None = None,
        channels: Literal[1, 3] | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 < fraction < 1:
            raise InvalidInput(f"fraction is {fraction}; expected more than 0 and less than 1")
        if n_images is not None:
            require_at_least(n_images=(n_images, 1))
        self.dataset, self.channels = dataset, channels
        rows = np.arange(len(dataset)) if split is None else split_rows(_classes(dataset), fraction, seed)[split]
        if n_images is not None and n_images < len(rows):
            rows = np.sort(np.random.default_rng([seed, 1]).permutation(rows)[:n_images])
        if not len(rows):
            raise InvalidInput(f"{len(dataset)} example(s) leave none for split: {split}; expected more examples")
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not set yet while a worker process unpickles
            raise AttributeError(name)
        return getattr(self.dataset, name)

    @property
    def labels(self) -> dict[str, Tensor]:
        """The labels of the part's examples."""
        rows = torch.from_numpy(self.rows)
        return {name: values[rows] for name, values in getattr(self.dataset, "labels", {}).items()}

    @property
    def files(self) -> list[str] | None:
        """The files of the part's examples, if the data set has any."""
        files = getattr(self.dataset, "files", None)
        return None if files is None else [files[row] for row in self.rows]

    def __getitem__(self, index: int) -> Batch:
        return self._converted(self.dataset[int(self.rows[index])])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = self.rows[np.asarray(indices, dtype=np.int64)].tolist()
        if hasattr(self.dataset, "__getitems__"):
            return self._converted(self.dataset.__getitems__(rows))
        return self._converted(default_collate([self.dataset[row] for row in rows]))

    def _converted(self, batch: Batch) -> Batch:
        if self.channels is not None and "image" in batch:
            batch["image"] = with_channels(batch["image"], self.channels)
        return batch


def split_rows(classes: np.ndarray, fraction: float, seed: int) -> dict[str, np.ndarray]:
    """The rows on the two sides of a split; each class with two examples or more is on both sides.

    >>> sides = split_rows(np.array([0] * 10 + [1] * 2), fraction=0.2, seed=0)
    >>> len(sides["train"]), len(sides["validation"])
    (9, 3)
    """
    random = np.random.default_rng(seed)
    held_out: list[int] = []
    for label in np.unique(classes):
        rows = random.permutation(np.flatnonzero(classes == label))
        n = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held_out += rows[:n].tolist()
    chosen = np.zeros(len(classes), dtype=bool)
    chosen[held_out] = True
    return {"train": np.flatnonzero(~chosen), "validation": np.flatnonzero(chosen)}


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Images (…, C, H, W) in grey (1) or in three channels (3).

    Raises:
        InvalidInput: images of neither 1 nor 3 channels.

    >>> with_channels(torch.ones(3, 1, 1), 1)
    tensor([[[1.]]])
    """
    found = images.shape[-3]
    if found == channels:
        return images
    if found == 1:
        return images.expand(*images.shape[:-3], channels, *images.shape[-2:])
    if found != 3 or channels != 1:
        raise InvalidInput(f"images have {found} channels; expected 1 or 3, to make {channels} of them")
    return (images * images.new_tensor(LUMA).reshape(3, 1, 1)).sum(dim=-3, keepdim=True)


def _classes(dataset: Any) -> np.ndarray:
    """The class of each example; 0 for all if the data set does not list them."""
    labels = getattr(dataset, "labels", None)
    found = labels.get("class") if isinstance(labels, dict) else None
    return np.zeros(len(dataset), dtype=int) if found is None else found.numpy()
