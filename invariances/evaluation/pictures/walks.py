"""Random walks in one factor."""

import math
from typing import Any

import torch
from torch import Tensor

from invariances.evaluation.pictures.base import Drawing, Images, Pixels
from invariances.evaluation.replace_factor import replace_factor
from invariances.flows.vectors import require
from invariances.utils.images import grid


class Walks(Drawing):
    """Random walks in one factor of an image, with all others fixed.

        e ← √(1 − s²) e + s ε,  ε ~ N(0, 1)          which N(0, 1) is left unchanged by

    Writes `walk_<factor>.png` for each factor: a row begins at an image, and each image is one step on.

    Args:
        n_images: number of rows.
        n_steps: images in a row.
        step_size: s, in (0, 1]; with 1 each step is drawn anew.
        seed: of the steps.
    """

    def __init__(self, n_images: int = 4, n_steps: int = 9, step_size: float = 0.5, seed: int = 0) -> None:
        super().__init__(n_images, seed)
        require(n_steps=(n_steps, 1))
        if not 0 < step_size <= 1:
            raise ValueError(f"step_size is {step_size}; expected more than 0 and at most 1")
        self.n_steps, self.step_size = n_steps, step_size

    def pictures(self, iterator: Any, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """One picture for each factor."""
        factors = iterator.to_factors(iterator.code(images))
        return {
            f"walk_{name}": self._picture(iterator, factors, k, generator)
            for k, name in enumerate(iterator.factor_names)
        }

    def _picture(self, iterator: Any, factors: list[Tensor], k: int, generator: torch.Generator) -> Pixels:
        walk = self._walk(factors[k], generator).flatten(0, 1)
        images = iterator.decode(iterator.to_code(replace_factor(factors, k, walk)))
        return grid(images, n_columns=self.n_steps)

    def _walk(self, e: Tensor, generator: torch.Generator) -> Tensor:
        """(B, N_k, 1, 1) -> (B, n_steps, N_k, 1, 1)."""
        steps = [e]
        for _ in range(self.n_steps - 1):
            noise = torch.randn(e.shape, generator=generator, device=e.device)
            steps.append(math.sqrt(1 - self.step_size**2) * steps[-1] + self.step_size * noise)
        return torch.stack(steps, dim=1)
