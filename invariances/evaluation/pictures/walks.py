"""Random walks in one factor."""

import math

import torch
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.evaluation.base import HasFactors
from invariances.evaluation.pictures.base import Drawing, Images, Pixels
from invariances.evaluation.replace_factor import replace_factor
from invariances.utils.arguments import require_at_least
from invariances.utils.images import grid


class Walks(Drawing[HasFactors]):
    """Random walks in one factor of an image, with all others fixed.

        e ← √(1 − s²) e + s ε,  ε ~ N(0, 1)          which leaves N(0, 1) unchanged

    Writes `walk_<factor>.png` for each factor: a row starts at an image, and each step changes the factor.

    Args:
        n_images: number of rows.
        n_steps: images in a row.
        step_size: s, in (0, 1]; with 1 the steps are independent of each other.
        seed: of the steps.

    Raises:
        InvalidInput: a number is out of range.

    Example:
        >>> class Task:
        ...     device, factor_names = torch.device("cpu"), ("all",)
        ...     code = decode = staticmethod(lambda x: x)
        ...     to_factors, to_code = staticmethod(lambda code: [code]), staticmethod(lambda factors: factors[0])
        >>> Walks(n_images=2, n_steps=5).draw(Task(), torch.zeros(4, 3, 1, 1))["walk_all"].shape
        torch.Size([8, 17, 3])
    """

    needs = HasFactors

    def __init__(self, n_images: int = 4, n_steps: int = 9, step_size: float = 0.5, seed: int = 0) -> None:
        super().__init__(n_images, seed)
        require_at_least(n_steps=(n_steps, 1))
        if not 0 < step_size <= 1:
            raise InvalidInput(f"step_size is {step_size}; expected more than 0 and at most 1")
        self.n_steps, self.step_size = n_steps, step_size

    def pictures(self, iterator: HasFactors, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """One picture for each factor."""
        walks = self.walks(iterator, images, generator)
        return {f"walk_{name}": grid(walk, n_columns=self.n_steps) for name, walk in walks.items()}

    def walks(self, iterator: HasFactors, images: Images, generator: torch.Generator) -> dict[str, Tensor]:
        """The images of a walk in each factor, (B · n_steps, C, H, W)."""
        factors = iterator.to_factors(iterator.code(images))
        walks = [self._walk(factor, generator).flatten(0, 1) for factor in factors]
        return {
            name: iterator.decode(iterator.to_code(replace_factor(factors, k, walks[k])))
            for k, name in enumerate(iterator.factor_names)
        }

    def _walk(self, e: Tensor, generator: torch.Generator) -> Tensor:
        """(B, N_k, 1, 1) -> (B, n_steps, N_k, 1, 1)."""
        steps = [e]
        for _ in range(self.n_steps - 1):
            noise = torch.randn(e.shape, generator=generator, device=e.device)
            steps.append(math.sqrt(1 - self.step_size**2) * steps[-1] + self.step_size * noise)
        return torch.stack(steps, dim=1)
