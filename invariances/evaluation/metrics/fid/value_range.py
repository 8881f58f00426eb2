"""Check the declared value range of a set of images, and convert it to bytes."""

import logging
from typing import Literal, get_args

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.utils.images import to_uint8

log = logging.getLogger(__name__)

ValueRange = Literal["[-1, 1]", "[0, 1]", "uint8"]
LIMITS = {"[-1, 1]": (-1.0, 1.0), "[0, 1]": (0.0, 1.0), "uint8": (0.0, 255.0)}
TOLERANCE = 0.1  # how far floats may overshoot their range; they are clipped
NOTICED = 1e-3  # overshoot from which on that is said
LEAST = 0.01  # of variation; images of one grey, as those of an untrained decoder, are no evidence of another range
FEW = 1e-3  # share of the values that may lie in a part of the range and be no evidence that it is used


class ImageChecker:
    """Convert the images of one set to bytes, and check that their values are in the declared range.

    Each batch is checked for dtype, channels and values more than `TOLERANCE` outside the range. `close` checks the
    whole set and refuses: no images; NaN or infinite values; floats declared as [-1, 1] that vary with nearly no value
    below -0.01, as images in [0, 1] do; bytes of which nearly all are 0 or 1. It warns of values that were clipped.

    Args:
        value_range: `[-1, 1]` or `[0, 1]` for floats, `uint8` for bytes.

    Example:
        >>> checker = ImageChecker("[0, 1]")
        >>> checker(torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3)).flatten()
        tensor([  0, 128, 255], dtype=torch.uint8)
        >>> checker.close()
    """

    def __init__(self, value_range: ValueRange = "[-1, 1]") -> None:
        if value_range not in get_args(ValueRange):
            raise InvalidInput(
                f"value_range is {value_range!r}; expected one of {', '.join(get_args(ValueRange))}"
            )
        self.value_range = value_range
        self.n = self.n_broken = self.n_values = self.n_low = self.n_above_one = self.n_clipped = 0
        self._lowest, self._highest = float("inf"), -float("inf")

    def __call__(
        self, images: Shaped[Tensor, "batch channels height width"]
    ) -> UInt8[Tensor, "batch channels height width"]:
        """Convert a batch (B, C, H, W) to bytes.

        Raises:
            InvalidInput: neither 1 nor 3 channels, another dtype than declared, values outside the range.
        """
        self._check_kind(images)
        self.n += len(images)
        self.n_broken += int((~images.isfinite()).flatten(1).any(dim=1).sum())
        images = images.nan_to_num(nan=0, posinf=0, neginf=0)
        self._check_limits(images)
        if self.value_range == "uint8":
            return images
        return to_uint8(images if self.value_range == "[-1, 1]" else 2 * images - 1)

    def close(self) -> None:
        """Check the set as a whole.

        Raises:
            InvalidInput: it is empty, has broken images, or its values look like those of another range.
        """
        if self.n == 0:
            raise InvalidInput("the set of images is empty; expected at least one")
        if self.n_broken:
            raise InvalidInput(f"{self.n_broken} of {self.n} images hold NaN or infinite values; expected finite ones")
        found = f"nearly all of their values lie in [{max(self._lowest, 0):g}, {self._highest:g}]"
        varies, few = self._highest - self._lowest > LEAST, FEW * self.n_values
        if varies and self.value_range == "[-1, 1]" and self.n_low < few:
            raise InvalidInput(f"images are declared to be in [-1, 1], but {found}: are they in [0, 1]?")
        if varies and self.value_range == "uint8" and self.n_above_one < few:
            raise InvalidInput(
                f"images are declared to be bytes 0 … 255, but {found}: were they cast from [0, 1]?"
            )
        if self.n_clipped:
            share = f"{100 * self.n_clipped / self.n_values:.3g} % of the values"
            limits = f"[{self._lowest:g}, {self._highest:g}]"
            log.warning("images lie in %s, not in %s; %s were clipped", limits, self.value_range, share)

    def _check_kind(self, images: Tensor) -> None:
        if images.shape[1] not in (1, 3):
            raise InvalidInput(
                f"images have shape {tuple(images.shape)}; expected (batch, 1 or 3 channels, height, width)"
            )
        expects_bytes = self.value_range == "uint8"
        if expects_bytes != (images.dtype == torch.uint8) or not (expects_bytes or images.is_floating_point()):
            expected = "torch.uint8" if expects_bytes else "floats"
            raise InvalidInput(
                f"images are {images.dtype}, but {expected} are declared (value_range {self.value_range})"
            )

    def _check_limits(self, values: Tensor) -> None:
        lowest, highest = values.min().item(), values.max().item()
        low, high = LIMITS[self.value_range]
        if lowest < low - TOLERANCE or highest > high + TOLERANCE:
            raise InvalidInput(
                f"images are declared to be in {self.value_range}, but values lie in [{lowest:g}, "
                f"{highest:g}]; declare their range or clip them"
            )
        self._lowest, self._highest = min(self._lowest, lowest), max(self._highest, highest)
        self.n_values += values.numel()
        self.n_low += int((values < -0.01).sum())
        self.n_above_one += int((values > 1).sum())
        self.n_clipped += int(((values < low - NOTICED) | (values > high + NOTICED)).sum())
