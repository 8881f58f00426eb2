"""Images in the order of a named property, such as hue or position."""

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.evaluation.metrics.attributes import STATISTICS
from invariances.utils.names import hint

Images = Float[Tensor, "batch channels height width"]
TURN = {"hue": 360.0, "orientation": 180.0}  # degrees after which an angle is the same again


def attribute_values(images: Images, name: str) -> Float[Tensor, " batch"]:
    """The value of a property of each image; NaN where it is undefined.

    Args:
        images: in [-1, 1].
        name: one of `STATISTICS`; see there for units. Hue and orientation are in degrees, [0, 360) and [0, 180).

    Raises:
        InvalidInput: no such property.

    >>> green = torch.tensor([-1.0, 1.0, -1.0]).reshape(1, 3, 1, 1)
    >>> attribute_values(green, "hue").round()
    tensor([120.])
    """
    if name not in STATISTICS:
        raise InvalidInput(f"{name}: no property of images{hint(name, STATISTICS)}")
    values = STATISTICS[name](images)
    if not values.is_complex():
        return values
    turn = TURN[name]
    degrees = torch.where(values.real.isnan(), torch.nan, values.angle()) * turn / (2 * torch.pi)
    return degrees.remainder(turn)


def in_order_of(images: Images, values: Float[Tensor, " batch"]) -> tuple[Images, Float[Tensor, " batch"]]:
    """Images and their values from the least to the greatest; those without a value come last.

    >>> images, values = in_order_of(torch.zeros(3, 1, 1, 1), torch.tensor([torch.nan, 2.0, 1.0]))
    >>> values
    tensor([1., 2., nan])
    """
    order = values.argsort(stable=True)  # NaN counts as the greatest
    return images[order], values[order]
