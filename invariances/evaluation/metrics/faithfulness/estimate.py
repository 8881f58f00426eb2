"""Estimates from a sample of images, with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NORMAL_95 = 1.96  # standard deviations around the mean that hold 95 % of a normal distribution


@dataclass(frozen=True)
class Estimate:
    """A mean over images, or a quotient or product of such means, with its confidence interval.

    Each image's influence on the value is kept to first order (delta method), so the intervals of quotients and
    products take into account that both parts come from the same images.

    Attributes:
        value: the estimate; NaN if no image has a value.
        influence: (n,), influence function of each image; the mean is 0.

    >>> length, width = Estimate.mean(torch.tensor([1.0, 2.0, 3.0])), Estimate.mean(torch.tensor([2.0, 4.0, 6.0]))
    >>> round(length.half_width, 2), length.value * 2 == width.value
    (1.13, True)
    >>> ratio = length / width
    >>> ratio.value, round(ratio.half_width, 6)
    (0.5, 0.0)
    """

    value: float
    influence: Tensor

    @classmethod
    def mean(cls, values: Tensor) -> Estimate:
        """The mean over images, (n,); NaN marks an image without a value, which is left out."""
        values = values.detach().double().cpu()
        known = ~values.isnan()
        mean = values[known].mean()
        return cls(mean.item(), torch.where(known, (values - mean) * len(values) / known.sum(), 0.0))

    @property
    def half_width(self) -> float:
        """Half the width of the normal 95 % confidence interval, for images drawn independently."""
        n = len(self.influence)
        return NORMAL_95 * self.influence.std().item() / n**0.5 if n > 1 else float("nan")

    def __truediv__(self, other: Estimate) -> Estimate:
        value = self.value / other.value if other.value else float("nan")
        return Estimate(value, (self.influence - value * other.influence) / other.value)

    def __mul__(self, other: Estimate) -> Estimate:
        influence = self.value * other.influence + other.value * self.influence
        return Estimate(self.value * other.value, influence)

    def __rsub__(self, constant: float | int) -> Estimate:
        return Estimate(constant - self.value, -self.influence)

    def sqrt(self) -> Estimate:
        """The square root; NaN of a negative estimate."""
        root = self.value**0.5 if self.value >= 0 else float("nan")
        influence = self.influence / (2 * root) if root else self.influence * float("nan")
        return Estimate(root, influence)
