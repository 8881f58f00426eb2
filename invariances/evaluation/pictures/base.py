"""Pictures of the first validation images."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from invariances.evaluation.base import first_examples
from invariances.flows.vectors import require
from invariances.utils.images import save_png

Images = Float[Tensor, "batch channels height width"]
Pixels = UInt8[Tensor, "picture_height picture_width 3"]


class Drawing(ABC):
    """An evaluation that draws: after each epoch, and every `log_freq` steps while training.

    It is always about the same images and draws, so that pictures can be compared over the training. A page
    implements `pictures`, which is expected to be quick.

    Args:
        n_images: how many validation images it is about, from the first on.
        seed: of what is drawn at random.
    """

    def __init__(self, n_images: int = 8, seed: int = 0) -> None:
        require(n_images=(n_images, 1))
        self.n_images, self.seed = n_images, seed

    @abstractmethod
    def pictures(self, iterator: Any, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """Name -> picture, of images in [-1, 1]."""

    @torch.no_grad()
    def draw(self, iterator: Any, images: Images) -> dict[str, Pixels]:
        """The pictures of the first `n_images` images; `iterator` is in eval mode.

        Raises:
            ValueError: a name is that of no file, as of a factor with / in its name.
        """
        generator = torch.Generator(images.device).manual_seed(self.seed)
        pictures = self.pictures(iterator, images[: self.n_images], generator)
        for name in pictures:
            if Path(name).name != name:
                raise ValueError(f"{name!r} cannot name a file; expected factor_names without /")
        return pictures

    def __call__(self, iterator: Any, loader: Any, folder: Path) -> dict[str, float]:
        """Write each picture as `<name>.png`; there are no numbers in them."""
        images = first_examples(loader, self.n_images, iterator.device)["image"]
        for name, pixels in self.draw(iterator, images).items():
            save_png(folder / f"{name}.png", pixels)
        return {}
