"""Base class of evaluations that draw pictures of the first validation images."""

from abc import abstractmethod
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, Evaluation, OnDevice, first_examples
from invariances.utils.arguments import require_at_least
from invariances.utils.images import save_png

Images = Float[Tensor, "batch channels height width"]
Pixels = UInt8[Tensor, "picture_height picture_width 3"]
Offer = TypeVar("Offer", bound=OnDevice, contravariant=True)


class Drawing(Evaluation[Offer]):
    """An evaluation that draws: after each epoch, and every `log_freq` steps while training.

    The images and the random numbers are the same each time, so pictures can be compared over the training. A
    subclass implements `pictures`, which is expected to be quick.

    Args:
        n_images: number of validation images, from the first on.
        seed: of the random numbers.

    Raises:
        InvalidInput: `n_images` is below 1.

    Example:
        >>> from types import SimpleNamespace
        >>> from invariances.utils.images import grid
        >>> class Negatives(Drawing[OnDevice]):
        ...     def pictures(self, iterator, images, generator):
        ...         return {"negatives": grid(-images)}
        >>> task = SimpleNamespace(device=torch.device("cpu"))
        >>> Negatives(n_images=4).draw(task, torch.zeros(9, 3, 8, 8))["negatives"].shape
        torch.Size([22, 22, 3])
    """

    def __init__(self, n_images: int = 8, seed: int = 0) -> None:
        require_at_least(n_images=(n_images, 1))
        self.n_images, self.seed = n_images, seed

    @abstractmethod
    def pictures(self, iterator: Offer, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """Name -> picture (H, W, 3) in bytes, of images in [-1, 1]."""

    @torch.no_grad()
    def draw(self, iterator: Offer, images: Images) -> dict[str, Pixels]:
        """The pictures of the first `n_images` images; `iterator` is in eval mode.

        Raises:
            InvalidInput: a name cannot name a file, as of a factor with / in its name.
        """
        generator = torch.Generator(images.device).manual_seed(self.seed)
        pictures = self.pictures(iterator, images[: self.n_images], generator)
        for name in pictures:
            if Path(name).name != name:
                raise InvalidInput(f"{name!r} cannot name a file; expected factor_names without /")
        return pictures

    def __call__(self, iterator: Offer, loader: Batches, folder: Path) -> dict[str, float]:
        """Write each picture as `<name>.png`; returns no numbers."""
        images = first_examples(loader, self.n_images, iterator.device)["image"]
        for name, pixels in self.draw(iterator, images).items():
            save_png(folder / f"{name}.png", pixels)
        return {}
