"""Grey images made colourful: a colour is a factor of variation whose true value is known."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from invariances.data.base import Batch, BatchedDataset, Bytes, ImageSet, Labels, dequantise
from invariances.data.draws import Draws
from invariances.data.partners import Partners


def hue_to_rgb(hue: Float[np.ndarray, " batch"]) -> Float[np.ndarray, "batch 3"]:
    """Fully saturated colours HSV(hue, 1, 1) as RGB in [0, 1]; hue in radians.

    >>> hue_to_rgb(np.array([0, 2 * np.pi / 3])).round(6).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    sector = (hue * (3 / math.pi)) % 6
    rgb = [np.abs(sector - 3) - 1, 2 - np.abs(sector - 2), 2 - np.abs(sector - 4)]
    return np.stack(rgb, axis=1).clip(0, 1)


class HueImages(ImageSet):
    """Grey images on black, each in a fully saturated hue h ~ U[0, 2π).

    The grey byte is multiplied by HSV(h, 1, 1), then each channel is dequantised, so black stays black. An
    example has `image` (3, H, W), float32 in [-1, 1), `hue` in radians, float32, and every label.

    Args:
        images: uint8, (N, 1, H, W).
        labels: name -> (N,), int64.
        seed: of hue and noise; `None` fixes them.
    """

    def make(self, index: Int64[np.ndarray, " batch"], draws: Draws) -> Batch:
        """`image`, `hue` and the labels."""
        hue = 2 * math.pi * draws.uniform("hue", 1)[:, 0]
        rgb = hue_to_rgb(hue).astype(np.float32)[:, :, None, None]
        return {
            "image": dequantise(self.images[index] * rgb, draws),
            "hue": torch.from_numpy(hue).float(),
            **self.labels_at(index),
        }


def colorize(
    images: Bytes, color: Float[np.ndarray, "batch 3"], draws: Draws, stream: str
) -> Float32[Tensor, "batch 3 height width"]:
    """Dequantised grey images in [-1, 1) times one factor in [0, 1) for each channel."""
    grey = dequantise(images, draws, stream)
    return grey * torch.from_numpy(color).float()[:, :, None, None]


class ColorfulImages(ImageSet):
    """Grey images times a random colour: three factors from U[0, 1) on the image in [-1, 1].

    An example has `image` (3, H, W), float32 in (-1, 1), and every label.
    """

    def make(self, index: Int64[np.ndarray, " batch"], draws: Draws) -> Batch:
        """`image` and the labels."""
        color = draws.uniform("color", 3)
        image = colorize(self.images[index], color, draws, "dequantisation")
        return {"image": image, **self.labels_at(index)}


class ColorfulPairs(BatchedDataset):
    """Pairs of coloured images that share their class (factor 0) or their colour (factor 1).

    Factor 0: another image of the same class in another colour; where a class has one image only, that
    image again. Factor 1: an image of another class in the same colour. Colours as in `ColorfulImages`.

    An example has `factor`, `example1` and `example2` (3, H, W), float32 in (-1, 1), `class1` and `class2`.
    `labels["class"]` is the class of the first image. (P. Esser, R. Rombach, B. Ommer, "A disentangling
    invertible interpretation network", CVPR 2020.)

    Args:
        images: uint8, (N, 1, H, W).
        labels: has `class`, (N,), int64.
        seed: of everything drawn; `None` fixes it.

    Raises:
        ValueError: no image, or all of one class.
    """

    def __init__(self, images: Bytes, labels: Labels, seed: int | None) -> None:
        super().__init__(len(images), labels, seed)
        self.images = images
        self._partners = Partners(labels["class"], "class")
        self._partners.require_others()

    def make(self, index: Int64[np.ndarray, " batch"], draws: Draws) -> Batch:
        """`factor`, both examples and their classes."""
        factor = draws.below("factor", 2)
        partner = np.where(factor == 0, self._partners.same(index, draws), self._partners.other(index, draws))
        color1 = draws.uniform("color1", 3)
        color2 = np.where(factor[:, None] == 0, draws.uniform("color2", 3), color1)
        return {
            "factor": torch.from_numpy(factor),
            "example1": colorize(self.images[index], color1, draws, "dequantisation1"),
            "example2": colorize(self.images[partner], color2, draws, "dequantisation2"),
            "class1": self.labels["class"][torch.from_numpy(index)],
            "class2": self.labels["class"][torch.from_numpy(partner)],
        }
