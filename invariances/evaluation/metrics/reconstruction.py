"""How near an autoencoder's reconstructions are to their images, beside images that know nothing of them."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, CanReconstruct, Evaluation
from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.random_indices import random_examples
from invariances.utils.arguments import require_at_least


class Reconstruction(Evaluation[CanReconstruct]):
    """Distance of validation images from their reconstructions: see `reconstruction_errors`.

    Args:
        n_images: number of validation images, at least 2, a random subset; null for all.
        batch_size: images at a time.
        seed: of the subset.

    Example: in a config it is `evaluation: {reconstruction: {}}`.

        >>> Reconstruction(n_images=1)
        Traceback (most recent call last):
        invariances.errors.InvalidInput: n_images is 1; expected 2 or more
    """

    needs = CanReconstruct
    legend = {  # noqa: RUF012 (the base class's own attribute)
        "reconstruction_error_mean_image": "The same of the mean of all images: an autoencoder that is no better has "
        "collapsed.",
        "reconstruction_error_other": "The same of reconstructions of other images: where they are as good, the code "
        "is ignored.",
        "reconstruction_error": "Mean absolute difference between the pixels of an image and of its reconstruction; "
        "pixels are in [-1, 1].",
    }

    def __init__(self, n_images: int | None = 1000, batch_size: int = 50, seed: int = 0) -> None:
        require_at_least(batch_size=(batch_size, 1))
        if n_images is not None:
            require_at_least(n_images=(n_images, 2))
        self.n_images, self.batch_size, self.seed = n_images, batch_size, seed

    @torch.no_grad()
    def __call__(self, iterator: CanReconstruct, loader: Batches, folder: Path) -> dict[str, float]:
        """Measure an autoencoder, or the autoencoder of a flow."""
        images = random_examples(loader, self.n_images, iterator.device, self.seed)["image"]
        rebuilt = torch.cat([iterator.reconstruct(batch) for batch in images.split(self.batch_size)])
        return reconstruction_errors(images, rebuilt)


def reconstruction_errors(
    images: Float[Tensor, "batch channels height width"], rebuilt: Float[Tensor, "batch channels height width"]
) -> dict[str, float]:
    """Mean absolute differences of pixels: of images and their reconstructions, and two that any code must beat.

    - `reconstruction_error`: mean |x − x̂|.
    - `reconstruction_error_mean_image`: mean |x − x̄|, with x̄ the mean of all images.
    - `reconstruction_error_other`: mean |x − x̂'|, with x̂' the reconstruction of the next image.

    Args:
        images: at least 2.
        rebuilt: their reconstructions.

    Returns:
        name -> estimate, and `<name>_ci` -> half the width of its 95 % interval over the images.

    Raises:
        InvalidInput: fewer than 2 images, or another shape.

    >>> images = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)
    >>> found = reconstruction_errors(images, 0.5 * images)
    >>> [found[f"reconstruction_error{end}"] for end in ("", "_mean_image", "_other")]
    [0.5, 1.0, 1.5]
    """
    if len(images) < 2 or images.shape != rebuilt.shape:
        shapes = f"{tuple(images.shape)} and {tuple(rebuilt.shape)}"
        raise InvalidInput(f"images and reconstructions have shapes {shapes}; expected 2 or more of one shape")
    references = {"": rebuilt, "_mean_image": images.mean(dim=0, keepdim=True), "_other": rebuilt.roll(1, 0)}
    found: dict[str, float] = {}
    for end, reference in references.items():
        estimate = Estimate.mean((images - reference).abs().flatten(1).mean(dim=1))
        found |= estimate.numbers(f"reconstruction_error{end}")
    return found
