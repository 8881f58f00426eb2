"""The handwritten digits of scikit-learn, which are part of that package: nothing is downloaded.

1,797 digits of 8×8 pixels (E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI, 1998).
"""

from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from invariances.data.base import Bytes, ImageSet, Labels
from invariances.data.colors import ColorfulPairs, HueImages
from invariances.utils.arguments import require_at_least

_N_TEST = 297


def digits(split: Literal["train", "test"], size: int = 32) -> tuple[Bytes, Labels]:
    """Read the 1,500 digits of the training split or the 297 of the test split.

    The split is stratified by class and fixed. The 8×8 pixels with 17 grey levels are resized by bicubic
    interpolation and clipped at black and white.

    Returns:
        images, bytes (N, 1, size, size), and the label `class` (N,).

    Raises:
        InvalidInput: a size below 1.
    """
    require_at_least(size=(size, 1))
    images, classes = _read(split, size)
    return images, {"class": classes}


@cache  # read by the training and again by each evaluation
def _read(split: Literal["train", "test"], size: int) -> tuple[Bytes, Tensor]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    parts = train_test_split(
        np.arange(len(source.target)), test_size=_N_TEST, stratify=source.target, random_state=0
    )
    index = np.sort(parts[split == "test"])
    small = torch.from_numpy(source.images[index]).float()[:, None] / 16
    large = interpolate(small, (size, size), mode="bicubic").clamp(0, 1)
    return (large * 255).round().byte().numpy(), torch.from_numpy(source.target[index]).long()


class DigitsTrain(ImageSet):
    """The training split, 1,500 grey digits: `image` (1, size, size) in [-1, 1), `class` in {0 … 9}.

    Args:
        size: of the images in pixels.
        seed: of the dequantisation noise.

    Example:
        >>> data = DigitsTrain(size=16)
        >>> len(data), data[0]["image"].shape
        (1500, torch.Size([1, 16, 16]))
    """

    def __init__(self, size: int = 32, seed: int = 0) -> None:
        super().__init__(*digits("train", size), seed=seed)


class DigitsTest(ImageSet):
    """The test split, 297 grey digits; each example is the same in every epoch and run."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(*digits("test", size), seed=None)


class ColorfulDigitsTrain(HueImages):
    """The training digits on black, each in a fully saturated random hue, different in each epoch.

    An example has `image` (3, size, size) in [-1, 1), `class` and `hue` in [0, 2π).
    """

    def __init__(self, size: int = 32, seed: int = 0) -> None:
        super().__init__(*digits("train", size), seed=seed)


class ColorfulDigitsTest(HueImages):
    """The test digits, each in a fixed hue of its own."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(*digits("test", size), seed=None)


class ColorfulDigitsPairsTrain(ColorfulPairs):
    """Pairs of coloured training digits that share class or colour; see `ColorfulPairs`."""

    def __init__(self, size: int = 32, seed: int = 0) -> None:
        super().__init__(*digits("train", size), seed=seed)


class ColorfulDigitsPairsTest(ColorfulPairs):
    """Pairs of coloured test digits, the same in every epoch and run."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(*digits("test", size), seed=None)
