"""The hue of images: the angle of their mean colour, and the distance of two sets of such angles."""

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


def hue_distance(first: Float[Tensor, " n"], second: Float[Tensor, " m"]) -> float:
    """Wasserstein-1 distance of two sets of angles on the circle: the mean rotation that maps one set to the other.

    With F, G the sets' distribution functions from any point on, it is ∫|F − G − α| dθ for the α that minimises it, the
    median of F − G (Rabin, Delon, Gousseau 2011, "Transportation distances on the circle").

    Args:
        first, second: angles in radians, in (−π, π]; none of the sets empty.

    Returns:
        radians, in [0, π]; π/2 between a single hue and the uniform distribution.

    Example:
        >>> round(hue_distance(torch.tensor([3.1]), torch.tensor([-3.1])), 3)
        0.083
    """
    angles, order = torch.cat([first, second]).double().sort()
    steps = torch.tensor([1 / len(first)] * len(first) + [-1 / len(second)] * len(second), dtype=torch.float64)
    difference = steps.to(order.device)[order].cumsum(0)  # F − G after each angle
    gaps = torch.cat([angles[1:], angles[:1] + 2 * torch.pi]) - angles
    by_size, order = difference.sort()
    median = by_size[(gaps[order].cumsum(0) >= torch.pi).nonzero()[0, 0]]
    return (gaps * (difference - median).abs()).sum().item()
