"""Conversion of pairs of images to single images."""

import torch

from invariances.data.base import Batch


def unpaired(batch: Batch) -> Batch:
    """Turn a batch of pairs into a batch of images: all first examples, then all second ones.

    Args:
        batch: B pairs, with `example1`, `example2` and perhaps `class1`, `class2`; any other batch is returned
            unchanged.

    Returns:
        `image`, (2B, C, H, W), and `class`, (2B,), if the pairs have classes.

    >>> pairs = {"example1": torch.zeros(2, 1, 4, 4), "example2": torch.ones(2, 1, 4, 4)}
    >>> unpaired(pairs)["image"][:, 0, 0, 0]
    tensor([0., 0., 1., 1.])
    """
    if "example1" not in batch:
        return batch
    both = {"image": torch.cat([batch["example1"], batch["example2"]])}
    if "class1" in batch:
        both["class"] = torch.cat([batch["class1"], batch["class2"]])
    return both
