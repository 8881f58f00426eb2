"""Scikit-learn's handwritten digits: small enough to travel with it, so nothing is downloaded.

1,797 digits of 8×8 pixels (E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI, 1998).
"""

from typing import Literal

import numpy as np
import torch
from torch.nn.functional import interpolate

from invariances.data.base import Bytes, ImageSet, Labels, require_size
from invariances.data.colors import ColorfulPairs, HueImages

_N_TEST = 297


def digits(split: Literal["train", "test"], size: int = 32) -> tuple[Bytes, Labels]:
    """Images (N, 1, size, size), bytes, and the label `class`; 1,500 to train and 297 to test.

    The split is stratified by class and always the same. The 17 grey levels of the source are enlarged by
    bicubic interpolation, cut at black and white.

    Raises:
        ValueError: a size below 1.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    require_size(size)
    source = load_digits()
    halves = train_test_split(
        np.arange(len(source.target)), test_size=_N_TEST, stratify=source.target, random_state=0
    )
    index = np.sort(halves[split == "test"])
    small = torch.from_numpy(source.images[index]).float()[:, None] / 16
    large = interpolate(small, (size, size), mode="bicubic").clamp(0, 1)
    return (large * 255).round().byte().numpy(), {"class": torch.from_numpy(source.target[index]).long()}


class DigitsTrain(ImageSet):
    """1,500 grey digits: `image` (1, size, size) in [-1, 1), `class` in {0 … 9}."""

    def __init__(self, size: int = 32, seed: int = 0) -> None:
        super().__init__(*digits("train", size), seed=seed)


class DigitsTest(ImageSet):
    """The 297 digits held out; every example always the same."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(*digits("test", size), seed=None)


class ColorfulDigitsTrain(HueImages):
    """The digits on black, each in a fully saturated random hue, another in each epoch.

    An example has `image` (3, size, size) in [-1, 1), `class` and `hue` in [0, 2π).
    """

    def __init__(self, size: int = 32, seed: int = 0) -> None:
        super().__init__(*digits("train", size), seed=seed)


class ColorfulDigitsTest(HueImages):
    """The digits held out, each in a hue of its own that never changes."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(*digits("test", size), seed=None)


class ColorfulDigitsPairsTrain(ColorfulPairs):
    """Pairs of coloured digits that share digit or colour, as `ColorfulMNISTTrain`."""

    def __init__(self, size: int = 32, seed: int = 0) -> None:
        super().__init__(*digits("train", size), seed=seed)


class ColorfulDigitsPairsTest(ColorfulPairs):
    """Pairs of the digits held out, always the same."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(*digits("test", size), seed=None)
