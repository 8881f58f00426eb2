"""The colour of an image as one angle."""

import torch
from jaxtyping import Float
from torch import Tensor


def hue(images: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Hue and chroma of the mean colour of each image.

    With (R, G, B) the mean colour in [0, 1], the chromaticity is the point (R − (G+B)/2, √3/2·(G−B)) of the plane;
    hue is its angle, chroma its length (Hanbury 2008, "Constructing cylindrical coordinate colour spaces", eq. 6-8).

    Args:
        images: in [-1, 1].

    Returns:
        hue in radians in (−π, π], chroma in [0, 1].

    Example:
        >>> red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1)
        >>> hue(red)
        (tensor([0.]), tensor([1.]))
    """
    red, green, blue = ((images + 1) / 2).mean(dim=(2, 3)).unbind(dim=1)
    alpha, beta = red - (green + blue) / 2, (green - blue) * 3**0.5 / 2
    return torch.atan2(beta, alpha), torch.hypot(alpha, beta)
