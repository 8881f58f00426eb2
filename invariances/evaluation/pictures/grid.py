"""A grid of validation images and what a model makes of them."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from invariances.evaluation.base import Batches, HasViews, View
from invariances.evaluation.pictures.base import Drawing, Images, Pixels
from invariances.evaluation.random_indices import random_examples
from invariances.utils.arguments import require_at_least
from invariances.utils.images import grid, stack_pictures, to_uint8

CANDIDATES = 8  # images to choose from, for each row


class Grid(Drawing[HasViews]):
    """One row per image, one column per view of it: `grid.png`, and the pixels as `grid.npz` for the report.

    The columns are what `iterator.views` returns: (label, images) pairs such as input, reconstruction, samples. The
    images are drawn at random, of different classes where the data has labels.

    Args:
        n_images: rows.
        n_samples: samples per image, where the model can sample.
        seed: of images and samples.

    Raises:
        InvalidInput: `n_images` is below 1, or `n_samples` below 0.

    Example:
        >>> class Mirrors:
        ...     device = torch.device("cpu")
        ...     def views(self, images, n_samples, generator):
        ...         return [("input", images), ("mirrored", images.flip(3))]
        >>> Grid(n_images=4).draw(Mirrors(), torch.zeros(9, 3, 8, 8))["grid"].shape
        torch.Size([42, 22, 3])
    """

    needs = HasViews

    def __init__(self, n_images: int = 8, n_samples: int = 6, seed: int = 0) -> None:
        super().__init__(n_images, seed)
        require_at_least(n_samples=(n_samples, 0))
        self.n_samples = n_samples

    def pictures(self, iterator: HasViews, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """The grid without its labels."""
        views = [view for _, view in iterator.views(images, self.n_samples, generator)]
        return {"grid": grid(torch.stack(views, dim=1).flatten(0, 1), n_columns=len(views))}

    @torch.no_grad()
    def __call__(self, iterator: HasViews, loader: Batches, folder: Path) -> dict[str, float]:
        """Draw the grid with its labels; returns no numbers."""
        batch = random_examples(loader, CANDIDATES * self.n_images, iterator.device, self.seed)
        images = batch["image"][: self.n_images]
        if "class" in batch:
            images = batch["image"][of_different_classes(batch["class"], self.n_images)]
        generator = torch.Generator(images.device).manual_seed(self.seed)
        views = iterator.views(images, self.n_samples, generator)
        save_grid(folder / "grid.png", views)
        pixels = {label: to_uint8(view).cpu().numpy() for label, view in views}
        np.savez_compressed(folder / "grid.npz", **pixels)  # type: ignore[arg-type]  # no label is `allow_pickle`
        return {}


def of_different_classes(classes: Tensor, n: int) -> Tensor:
    """Indices of n images of as many classes as there are: the first of each class, then the second of each, and so on.

    >>> of_different_classes(torch.tensor([3, 3, 1, 3, 1]), 3)
    tensor([0, 2, 1])
    """
    turns = (classes[:, None] == classes).tril().sum(dim=1)
    return turns.argsort(stable=True)[:n]


def save_grid(path: Path, views: list[View]) -> None:
    """Save a picture with a labelled column per view.

    Args:
        path: of the PNG.
        views: (label, images (B, C, H, W) in [-1, 1]); all of one shape.
    """
    n_rows, _, height, width = views[0][1].shape
    figure = Figure(figsize=(1.1 * len(views), 1.1 * n_rows * height / width + 0.35), layout="constrained")
    for axis, (label, images) in zip(figure.subplots(1, len(views), squeeze=False)[0], views, strict=True):
        pixels = stack_pictures(to_uint8(images).cpu().numpy())
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(label, fontsize=9)
        axis.set_axis_off()
    figure.savefig(path, dpi=110)
