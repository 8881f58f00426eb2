"""Pictures of what a model makes of the first validation images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from invariances.evaluation.base import first_examples
from invariances.evaluation.pictures.base import Drawing, Images, Pixels
from invariances.flows.vectors import require
from invariances.utils.images import grid, to_uint8


class Grid(Drawing):
    """One row per image, one column per view of it: `grid.png`, and the pixels as `grid.npz` for the report.

    The views are what `iterator.views` returns: (label, images) pairs such as input, reconstruction, samples.

    Args:
        n_images: rows.
        n_samples: samples per image, where the model can sample.
        seed: of the samples.
    """

    def __init__(self, n_images: int = 8, n_samples: int = 6, seed: int = 0) -> None:
        super().__init__(n_images, seed)
        require(n_samples=(n_samples, 0))
        self.n_samples = n_samples

    def pictures(self, iterator: Any, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """The grid without its labels."""
        views = [view for _, view in iterator.views(images, self.n_samples, generator)]
        return {"grid": grid(torch.stack(views, dim=1).flatten(0, 1), n_columns=len(views))}

    @torch.no_grad()
    def __call__(self, iterator: Any, loader: Any, folder: Path) -> dict[str, float]:
        """Draw the grid; there are no numbers in it."""
        images = first_examples(loader, self.n_images, iterator.device)["image"]
        generator = torch.Generator(images.device).manual_seed(self.seed)
        views = iterator.views(images, self.n_samples, generator)
        save_grid(folder / "grid.png", views)
        pixels = {label: to_uint8(view).cpu().numpy() for label, view in views}
        np.savez_compressed(folder / "grid.npz", **pixels)
        return {}


def save_grid(path: Path, views: list[tuple[str, Tensor]]) -> None:
    """Save a picture with a labelled column per view.

    Args:
        path: of the PNG.
        views: (label, images (B, C, H, W) in [-1, 1]); all of one shape.
    """
    columns = torch.stack([to_uint8(view).cpu() for _, view in views], dim=1)  # (B, V, C, H, W)
    n_rows, n_columns, _, height, width = columns.shape
    figure = Figure(figsize=(1.1 * n_columns, 1.1 * n_rows * height / width + 0.35), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for row, row_axes in enumerate(axes):
        for column, axis in enumerate(row_axes):
            pixels = columns[row, column].permute(1, 2, 0).numpy()
            axis.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(views[column][0], fontsize=9)
    figure.savefig(path, dpi=110)
