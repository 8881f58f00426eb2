"""Data sets: every example is a dict of tensors, images are float32 (C, H, W) in [-1, 1]."""

from invariances.data.digits import (
    ColorfulDigitsPairsTest,
    ColorfulDigitsPairsTrain,
    ColorfulDigitsTest,
    ColorfulDigitsTrain,
    DigitsTest,
    DigitsTrain,
)

__all__ = [
    "ColorfulDigitsPairsTest",
    "ColorfulDigitsPairsTrain",
    "ColorfulDigitsTest",
    "ColorfulDigitsTrain",
    "DigitsTest",
    "DigitsTrain",
]
