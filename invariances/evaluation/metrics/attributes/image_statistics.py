"""Properties of an image that can be computed from its pixels.

Each takes images, (B, C, H, W) in [-1, 1], and returns a number for each, (B,). Angles are points exp(iθ) of the
complex plane, so that their variance does not depend on where the circle is cut. NaN: the image has no such property.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from invariances.evaluation.metrics.hue import defined_hue

Images = Float[Tensor, "batch channels height width"]
Statistic = Callable[[Tensor], Tensor]

LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
MIN_FOREGROUND = 0.005  # mean difference from the background in [0, 1] of an image with a foreground
MIN_ELONGATION = 0.1  # of a foreground with an orientation


def luma(images: Images) -> Float[Tensor, "batch height width"]:
    """Brightness of each pixel in [0, 1]: 0.299 R + 0.587 G + 0.114 B; the mean where there are not 3 channels.

    >>> luma(torch.ones(1, 3, 1, 1))
    tensor([[[1.]]])
    """
    pixels = (images + 1) / 2
    weights = LUMA if images.shape[1] == 3 else (1 / images.shape[1],) * images.shape[1]
    return (pixels * pixels.new_tensor(weights).reshape(1, -1, 1, 1)).sum(dim=1)


def brightness(images: Images) -> Float[Tensor, " batch"]:
    """Mean luma, in [0, 1].

    >>> brightness(torch.zeros(1, 1, 4, 4))
    tensor([0.5000])
    """
    return luma(images).mean(dim=(1, 2))


def contrast(images: Images) -> Float[Tensor, " batch"]:
    """Standard deviation of the luma over the pixels, in [0, ½].

    >>> contrast(torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2))
    tensor([0.5000])
    """
    return luma(images).std(dim=(1, 2), correction=0)


def saturation(images: Images) -> Float[Tensor, " batch"]:
    """Mean over the pixels of max(R, G, B) − min(R, G, B), in [0, 1]; NaN without three channels.

    >>> saturation(torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1))
    tensor([1.])
    """
    if images.shape[1] != 3:
        return images.new_full((len(images),), torch.nan)
    return (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2)) / 2


def hue(images: Images) -> Complex[Tensor, " batch"]:
    """Hue of the mean colour, as exp(i hue); NaN of grey images, see `invariances.evaluation.metrics.hue`.

    >>> hue(torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1))
    tensor([1.+0.j])
    """
    if images.shape[1] != 3:
        return images.new_full((len(images),), torch.nan) * (1 + 0j)
    return _angle(defined_hue(images))


def sharpness(images: Images) -> Float[Tensor, " batch"]:
    """Mean absolute Laplacian of the luma (4 neighbours; without the border).

    >>> sharpness(torch.tensor([[-1.0, -1, -1], [-1, 1, -1], [-1, -1, -1]]).reshape(1, 1, 3, 3))
    tensor([4.])
    """
    y = luma(images)
    inner = y[:, 1:-1, 1:-1]
    around = y[:, :-2, 1:-1] + y[:, 2:, 1:-1] + y[:, 1:-1, :-2] + y[:, 1:-1, 2:]
    return (around - 4 * inner).abs().mean(dim=(1, 2))


def spatial_frequency(images: Images) -> Float[Tensor, " batch"]:
    """Mean radial frequency of the luma, weighted by its power, in cycles per pixel in [0, 0.71]; NaN if constant.

    >>> stripes = torch.tensor([-1.0, 1.0]).repeat(4).expand(1, 1, 8, 8)
    >>> spatial_frequency(stripes)
    tensor([0.5000])
    """
    y = luma(images)
    power = torch.fft.fft2(y - y.mean(dim=(1, 2), keepdim=True)).abs().square()
    vertical, horizontal = (torch.fft.fftfreq(n, device=y.device) for n in y.shape[1:])
    radius = torch.hypot(vertical[:, None], horizontal)
    total = power.sum(dim=(1, 2))
    return torch.where(total > 1e-9 * y[0].numel() ** 2, (power * radius).sum(dim=(1, 2)) / total, torch.nan)


def position_x(images: Images) -> Float[Tensor, " batch"]:
    """Centre of mass of the foreground from left (−1) to right (1); see `_moments`."""
    return _moments(images)[0]


def position_y(images: Images) -> Float[Tensor, " batch"]:
    """Centre of mass of the foreground from top (−1) to bottom (1); see `_moments`."""
    return _moments(images)[1]


def scale(images: Images) -> Float[Tensor, " batch"]:
    """Root mean square distance of the foreground from its centre; the image is 2 high and 2 wide."""
    _, _, xx, yy, _ = _moments(images)
    return (xx + yy).sqrt()


def orientation(images: Images) -> Complex[Tensor, " batch"]:
    """Direction θ of the foreground's long axis, as exp(2iθ); NaN if no axis is longer than the other.

    >>> line = -torch.ones(1, 1, 9, 9); line[0, 0, 4, 2:7] = 1.0
    >>> orientation(line).real
    tensor([1.])
    """
    _, _, xx, yy, xy = _moments(images)
    elongation = torch.hypot(xx - yy, 2 * xy) / (xx + yy)
    angle = torch.atan2(2 * xy, xx - yy)
    return _angle(torch.where(elongation > MIN_ELONGATION, angle, torch.nan))


def _angle(theta: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(theta), theta)


def _moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean and covariance of the foreground's position (x, y, xx, yy, xy), each (B,), with x and y in [−1, 1].

    A pixel counts by the distance of its colour from the background, the median of the pixels at the border. NaN where
    there is no foreground: a mean distance below `MIN_FOREGROUND`.
    """
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], dim=2)
    background = border.median(dim=2).values[..., None, None]
    weight = (images - background).square().mean(dim=1).sqrt() / 2  # (B, H, W)
    height, width = weight.shape[1:]
    y = torch.linspace(-1, 1, height, device=weight.device)[:, None]
    x = torch.linspace(-1, 1, width, device=weight.device)
    total = weight.sum(dim=(1, 2))
    total = torch.where(total > MIN_FOREGROUND * height * width, total, torch.nan)

    def mean(values: Tensor) -> Tensor:
        return (weight * values).sum(dim=(1, 2)) / total

    x_mean, y_mean = mean(x), mean(y)
    dx, dy = x - x_mean[:, None, None], y - y_mean[:, None, None]
    return x_mean, y_mean, mean(dx.square()), mean(dy.square()), mean(dx * dy)


STATISTICS: Mapping[str, Statistic] = {
    function.__name__: function
    for function in (
        brightness, contrast, saturation, hue, sharpness, spatial_frequency, position_x, position_y, scale, orientation
    )
}  # fmt: skip
