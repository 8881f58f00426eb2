"""The hue of images: the angle of their mean colour, and the distance of two sets of such angles."""

import torch
from jaxtyping import Float
from torch import Tensor

MIN_CHROMA = 0.02  # of an image with a defined hue


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


def defined_hue(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, " batch"]:
    """Hue of the mean colour in radians; NaN of images with a chroma of at most `MIN_CHROMA`, which have none.

    >>> defined_hue(torch.zeros(1, 3, 1, 1))
    tensor([nan])
    """
    angle, chroma = hue(images)
    return torch.where(chroma > MIN_CHROMA, angle, torch.nan)


def hue_distance(first: Float[Tensor, " n"], second: Float[Tensor, " m"]) -> float:
    """Wasserstein-1 distance of two sets of angles on the circle: the mean rotation that maps one set to the other.

    Args:
        first, second: angles in radians, in (−π, π]; none of the sets empty.

    Returns:
        radians, in [0, π]; π/2 between a single hue and the uniform distribution.

    Example:
        >>> round(hue_distance(torch.tensor([3.1]), torch.tensor([-3.1])), 3)
        0.083
    """
    masses = torch.tensor([1 / len(first)] * len(first) + [-1 / len(second)] * len(second), dtype=torch.float64)
    return circular_distance(torch.cat([first, second]), masses.to(first.device)).item()


def circular_distance(
    angles: Float[Tensor, " n"], masses: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    """Wasserstein-1 distance on the circle of the positive from the negative masses at given angles.

    With H the distribution function of the masses from any point on, it is ∫|H − α| dθ for the α that minimises it,
    the median of H (Rabin, Delon, Gousseau 2011, "Transportation distances on the circle").

    Args:
        angles: in radians, in (−π, π].
        masses: at the angles, with sum 0; several rows have the distances of several pairs of distributions.

    Example: half of the mass goes from 0 to 1

        >>> circular_distance(torch.tensor([0.0, 1.0]), torch.tensor([0.5, -0.5]))
        tensor(0.5000, dtype=torch.float64)
    """
    angles, order = angles.double().sort()
    gaps = torch.cat([angles[1:], angles[:1] + 2 * torch.pi]) - angles
    difference = masses.double()[..., order].cumsum(dim=-1)  # H after each angle
    by_size, order = difference.sort(dim=-1)
    below = (gaps[order].cumsum(dim=-1) < torch.pi).sum(dim=-1, keepdim=True)
    median = by_size.gather(-1, below.clamp(max=len(angles) - 1))
    return (gaps * (difference - median).abs()).sum(dim=-1)
