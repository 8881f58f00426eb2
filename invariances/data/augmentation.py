"""Random crops and mirror images of pictures in memory."""

import numpy as np
from jaxtyping import UInt8

from invariances.data.random_streams import RandomStreams

Pixels = UInt8[np.ndarray, "batch channels height width"]


def random_crop(
    pixels: Pixels, margin: int, streams: RandomStreams
) -> UInt8[np.ndarray, "batch channels height-{margin} width-{margin}"]:
    """Cut a square at random out of each image, (B, C, H, W) -> (B, C, H − margin, W − margin).

    Args:
        pixels: bytes.
        margin: rows and columns to cut off, ≥ 0; how many of them on each side is uniform.
        streams: random streams of these B examples.

    >>> streams = RandomStreams(seed=0, epoch=0, index=np.arange(5))
    >>> random_crop(np.zeros((5, 3, 10, 10), dtype=np.uint8), 2, streams).shape
    (5, 3, 8, 8)
    """
    height, width = (side - margin for side in pixels.shape[2:])
    tops, lefts = (streams.below(stream, margin + 1) for stream in ("crop top", "crop left"))
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (height, width), axis=(2, 3))
    return windows[np.arange(len(pixels)), :, tops, lefts]


def random_flip(pixels: Pixels, streams: RandomStreams) -> Pixels:
    """Mirror each image, left to right, with probability ½.

    >>> pixels = np.arange(2, dtype=np.uint8).reshape(1, 1, 1, 2)
    >>> streams = [RandomStreams(seed=0, epoch=epoch, index=np.array([0])) for epoch in range(5)]
    >>> [random_flip(pixels, epoch).ravel().tolist() for epoch in streams]
    [[0, 1], [1, 0], [0, 1], [0, 1], [0, 1]]
    """
    mirrored = streams.below("flip", 2).astype(bool)
    return np.where(mirrored[:, None, None, None], pixels[..., ::-1], pixels)
