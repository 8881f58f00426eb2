"""Grey images in random colours: the colour is a factor of variation whose true value is known."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from invariances.data.base import Batch, BatchedDataset, Bytes, ImageSet, Labels, dequantize
from invariances.data.pair_sampler import PairSampler
from invariances.data.random_streams import RandomStreams


def hue_to_rgb(hue: Float[np.ndarray, " batch"]) -> Float[np.ndarray, "batch 3"]:
    """Convert fully saturated colours HSV(hue, 1, 1) to RGB in [0, 1]; hue in radians.

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

    Example:
        >>> data = HueImages(np.zeros((5, 1, 8, 8), dtype=np.uint8), {"class": torch.arange(5)}, seed=0)
        >>> {name: tuple(value.shape) for name, value in data[3].items()}
        {'image': (3, 8, 8), 'hue': (), 'class': ()}
    """

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """Colour and dequantise the images."""
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
    """Dequantise grey images to [-1, 1) and multiply each channel by a factor.

    Args:
        images: bytes, (B, 1, H, W).
        color: factors in [0, 1), (B, 3).
        streams: random streams of these B examples.
        stream: name of the stream that the dequantisation noise comes from.

    Returns:
        (B, 3, H, W), in (-1, 1).
    """
    grey = dequantize(images, streams, stream)
    return grey * torch.from_numpy(color).float()[:, :, None, None]


class ColorfulImages(ImageSet):
    """Grey images times a random colour: the image in [-1, 1) is multiplied by three factors from U[0, 1).

    An example has `image` (3, H, W), float32 in (-1, 1), and every label.

    Args:
        images: uint8, (N, 1, H, W).
        labels: name -> (N,), int64.
        seed: of colours and noise; `None` fixes them.
    """

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """Colour the images."""
        color = streams.uniform("color", 3)
        image = colorize(self.images[index], color, streams, "dequantisation")
        return {"image": image, **self.labels_at(index)}


class ColorfulPairs(BatchedDataset):
    """Pairs of coloured images that share their class (factor 0) or their colour (factor 1).

    Factor 0: another image of the same class in another colour; if a class has only one image, that image
    again. Factor 1: an image of another class, or any image, in the same colour. Colours as in `ColorfulImages`.

    An example has `factor`, `example1` and `example2` (3, H, W), float32 in (-1, 1), `class1` and `class2`.
    `labels["class"]` is the class of the first image. (P. Esser, R. Rombach, B. Ommer, "A disentangling
    invertible interpretation network", CVPR 2020.)

    Args:
        images: uint8, (N, 1, H, W).
        labels: has `class`, (N,), int64.
        seed: of all random numbers; `None` fixes them.
        other_class: whether pairs of one colour are of two classes; else, as in the published experiments, the second
            image is any of all images, and a tenth of these pairs shares the digit, too.

    Raises:
        InvalidInput: there are no images; or all are of one class, and pairs of two are needed.

    Example:
        >>> data = ColorfulPairs(np.zeros((5, 1, 8, 8), dtype=np.uint8), {"class": torch.arange(5)}, seed=0)
        >>> list(data[3])
        ['factor', 'example1', 'example2', 'class1', 'class2']
    """

    def __init__(self, images: Bytes, labels: Labels, seed: int | None, other_class: bool = True) -> None:
        super().__init__(len(images), labels, seed)
        self.images = images
        sampler = PairSampler(labels["class"], "class")
        if other_class:
            sampler.require_others()
        self._same_class, self._same_color = sampler.same, sampler.other if other_class else sampler.any

    def make(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Batch:
        """Sample the factors and second examples, and colour both."""
        factor = streams.below("factor", 2)
        second = np.where(factor == 0, self._same_class(index, streams), self._same_color(index, streams))
        color1 = streams.uniform("color1", 3)
        color2 = np.where(factor[:, None] == 0, streams.uniform("color2", 3), color1)
        return {
            "factor": torch.from_numpy(factor),
            "example1": colorize(self.images[index], color1, streams, "dequantisation1"),
            "example2": colorize(self.images[second], color2, streams, "dequantisation2"),
            "class1": self.labels["class"][torch.from_numpy(index)],
            "class2": self.labels["class"][torch.from_numpy(second)],
        }
