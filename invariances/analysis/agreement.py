"""How well a few images agree with a given one, as a network sees them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages, outputs
from invariances.evaluation.metrics.faithfulness.similarity import similarities


@dataclass(frozen=True)
class Agreement:
    """Agreement of some images with a given one; means over the images.

    Attributes:
        cosine: of their representations and that of the given image.
        same_class: share whose predicted class is that of the given image; None for a network without classes.
        same_hue: cosine of the angle between the hues; None where there are none.
    """

    cosine: float
    same_class: float | None
    same_hue: float | None


@torch.no_grad()
def agreement(
    greybox: Any, image: Float[Tensor, "1 channels height width"], others: Mapping[str, Tensor]
) -> dict[str, Agreement]:
    """Agreement of sets of images, such as samples, reconstruction and other examples, with one image.

    Args:
        greybox: `Greybox`, Φ = encode, Ψ = decode.
        image: in [-1, 1].
        others: name -> images (k, C, H, W), k ≥ 1.

    Example:
        >>> from types import SimpleNamespace
        >>> box = SimpleNamespace(encode=lambda x: x, decode=lambda z: z.flatten(1))
        >>> red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1)
        >>> found = agreement(box, red, {"itself": red, "cyan": -red})
        >>> round(found["itself"].cosine, 3), found["itself"].same_class, found["cyan"].same_class
        (1.0, 1.0, 0.0)
    """
    z = greybox.encode(image)
    # of an `EncodedImages`, `similarities` does not use the codes
    real = EncodedImages(image, z, z, outputs(greybox, image, z))
    return {name: _agreement(real, greybox, images) for name, images in others.items()}


def _agreement(real: EncodedImages, greybox: Any, images: Tensor) -> Agreement:
    z = greybox.encode(images)
    logits = outputs(greybox, images, z)
    found = similarities(real, GeneratedImages(images[None], z[None], z[None], logits[None]), norm=0.0)
    numbers = {name: value.item() for name, value in found.items()}
    hue = numbers.get("hue_agreement", math.nan)
    return Agreement(numbers["cosine"], numbers.get("class_agreement"), None if math.isnan(hue) else hue)
