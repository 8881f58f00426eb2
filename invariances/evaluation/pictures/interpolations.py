"""Ways from one image to another."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.evaluation.pictures.base import Drawing, Images, Pixels
from invariances.flows.vectors import require
from invariances.utils.images import grid


class Interpolations(Drawing):
    """Two ways from each image to the next: above linear in the flow's space, below linear in the code's.

    Writes `interpolations.png`, for an iterator with a flow on codes (CVPR 2020, section 4).

    Args:
        n_images: number of ways; the last image leads back to the first.
        n_steps: images on each way, at least 2, both ends among them.
    """

    def __init__(self, n_images: int = 4, n_steps: int = 9) -> None:
        super().__init__(n_images)
        require(n_steps=(n_steps, 2))
        self.n_steps = n_steps

    def pictures(self, iterator: Any, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """The picture."""
        start = iterator.code(images)
        end = start.roll(-1, dims=0)
        ends = zip(iterator.to_factors(start), iterator.to_factors(end), strict=True)
        factors = [between(e1, e2, self.n_steps) for e1, e2 in ends]
        codes = torch.stack([iterator.to_code(factors), between(start, end, self.n_steps)])
        ways = iterator.decode(codes.flatten(0, 1)).unflatten(0, (2, len(images), self.n_steps))
        return {"interpolations": grid(ways.transpose(0, 1).flatten(0, 2), n_columns=self.n_steps)}


def between(
    start: Float[Tensor, "batch channels 1 1"], end: Float[Tensor, "batch channels 1 1"], n_steps: int
) -> Float[Tensor, "steps channels 1 1"]:
    """Points on the line from each start to its end, all of one line after another: (B · n_steps, C, 1, 1).

    >>> between(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), 3).flatten()
    tensor([0.0000, 0.5000, 1.0000])
    """
    weights = torch.linspace(0, 1, n_steps, device=start.device, dtype=start.dtype).view(-1, 1, 1, 1)
    return torch.lerp(start.unsqueeze(1), end.unsqueeze(1), weights).flatten(0, 1)
