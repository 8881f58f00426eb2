"""Grey images made colourful: a colour is a factor of variation whose true value is known."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from invariances.data.base import Batch, BatchedDataset, Bytes, ImageSet, Labels, dequantize
from invariances.data.pair_sampler import PairSampler
from invariances.data.random_streams import RandomStreams


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

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """`image`, `hue` and the labels."""
        hue = 2 * math.pi * streams.uniform("hue", 1)[:, 0]
        rgb = hue_to_rgb(hue).astype(np.float32)[:, :, None, None]
        return {
            "image": dequantize(self.images[index] * rgb, streams),
            "hue": torch.from_numpy(hue).float(),
            **self.labels_at(index),
        }


def colorize(
    images: Bytes, color: Float[np.ndarray, "batch 3"], streams: RandomStreams, stream: str
) -> Float32[Tensor, "batch 3 height width"]:
    """Dequantised grey images in [-1, 1) times one factor in [0, 1) for each channel."""
    grey = dequantize(images, streams, stream)
    return grey * torch.from_numpy(color).float()[:, :, None, None]


class ColorfulImages(ImageSet):
    """Grey images times a random colour: three factors from U[0, 1) on the image in [-1, 1].

    An example has `image` (3, H, W), float32 in (-1, 1), and every label.
    """

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """`image` and the labels."""
        color = streams.uniform("color", 3)
        image = colorize(self.images[index], color, streams, "dequantisation")
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
        self._pair_sampler = PairSampler(labels["class"], "class")
        self._pair_sampler.require_others()

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """`factor`, both examples and their classes."""
        factor = streams.below("factor", 2)
        same, other = self._pair_sampler.same(index, streams), self._pair_sampler.other(index, streams)
        partner = np.where(factor == 0, same, other)
        color1 = streams.uniform("color1", 3)
        color2 = np.where(factor[:, None] == 0, streams.uniform("color2", 3), color1)
        return {
            "factor": torch.from_numpy(factor),
            "example1": colorize(self.images[index], color1, streams, "dequantisation1"),
            "example2": colorize(self.images[partner], color2, streams, "dequantisation2"),
            "class1": self.labels["class"][torch.from_numpy(index)],
            "class2": self.labels["class"][torch.from_numpy(partner)],
        }
