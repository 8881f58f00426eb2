"""Interpolations from one image to another."""

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.evaluation.base import HasFactors
from invariances.evaluation.pictures.base import Drawing, Images, Pixels
from invariances.utils.arguments import require_at_least
from invariances.utils.images import grid


class Interpolations(Drawing[HasFactors]):
    """Two interpolations from each image to the next: linear in the flow's space (upper row) and in the code's (lower).

    Writes `interpolations.png`, for an iterator with a flow on codes (CVPR 2020, section 4).

    Args:
        n_images: number of pairs of images; the last image is followed by the first.
        n_steps: images in a row, at least 2, with both ends.

    Raises:
        InvalidInput: `n_images` is below 1, or `n_steps` below 2.

    Example:
        >>> class Task:
        ...     device, factor_names = torch.device("cpu"), ("all",)
        ...     code = decode = staticmethod(lambda x: x)
        ...     to_factors, to_code = staticmethod(lambda code: [code]), staticmethod(lambda factors: factors[0])
        >>> Interpolations(n_images=2, n_steps=5).draw(Task(), torch.zeros(4, 3, 1, 1))["interpolations"].shape
        torch.Size([14, 17, 3])
    """

    needs = HasFactors

    def __init__(self, n_images: int = 4, n_steps: int = 9) -> None:
        super().__init__(n_images)
        require_at_least(n_steps=(n_steps, 2))
        self.n_steps = n_steps

    def pictures(self, iterator: HasFactors, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """The picture."""
        start = iterator.code(images)
        end = start.roll(-1, dims=0)
        ends = zip(iterator.to_factors(start), iterator.to_factors(end), strict=True)
        factors = [interpolate(e1, e2, self.n_steps) for e1, e2 in ends]
        codes = torch.stack([iterator.to_code(factors), interpolate(start, end, self.n_steps)])
        decoded = iterator.decode(codes.flatten(0, 1)).unflatten(0, (2, len(images), self.n_steps))
        return {"interpolations": grid(decoded.transpose(0, 1).flatten(0, 2), n_columns=self.n_steps)}


def interpolate(
    start: Float[Tensor, "batch channels 1 1"], end: Float[Tensor, "batch channels 1 1"], n_steps: int
) -> Float[Tensor, "steps channels 1 1"]:
    """Points on the line from each start to its end, grouped by line: (B · n_steps, C, 1, 1).

    >>> interpolate(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), 3).flatten()
    tensor([0.0000, 0.5000, 1.0000])
    """
    weights = torch.linspace(0, 1, n_steps, device=start.device, dtype=start.dtype).view(-1, 1, 1, 1)
    return torch.lerp(start.unsqueeze(1), end.unsqueeze(1), weights).flatten(0, 1)
