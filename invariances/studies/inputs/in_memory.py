"""Networks and images that exist in memory alone, for studies in a notebook."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.models.pretrained import unwrapped
from invariances.utils.files import atomic_write
from invariances.utils.images import channels_first, to_uint8
from invariances.utils.weights import digest

_networks: dict[str, nn.Module] = {}


class GivenNetwork(nn.Module):
    """Stands in a config for a network of this process: calling it returns a copy of that network.

    Args:
        name: under which `keep_network` keeps it.

    Raises:
        InvalidInput: this process has no such network, as after a restart.

    >>> keep_network("mine", nn.Flatten())
    >>> GivenNetwork("mine")
    Flatten(start_dim=1, end_dim=-1)
    """

    def __new__(cls, name: str) -> Any:
        """A copy of the network."""
        if name not in _networks:
            raise InvalidInput(f"the network {name} is not in this process; call invariances.study with it again")
        return copy.deepcopy(_networks[name])

    def __init__(self, name: str) -> None:
        super().__init__()


def keep_network(name: str, network: nn.Module) -> None:
    """Let configs of this process name a network."""
    _networks[name] = copy.deepcopy(unwrapped(network)).cpu().eval()


def save_weights(name: str, path: Path) -> None:
    """Write the weights of a network that is kept."""
    with atomic_write(path) as part:
        torch.save(_networks[name].state_dict(), part)


def save_images(images: Tensor | np.ndarray, labels: Sequence[int] | Tensor | None, folder: Path) -> str:
    """Write images to a file; returns the data set, as `--data` takes it.

    Args:
        images: bytes in [0, 255] or floats in [-1, 1], (N, C, H, W) or (N, H, W, C), or (N, H, W) in grey.
        labels: classes, (N,).
        folder: of the file.

    Raises:
        InvalidInput: another range or shape.
    """
    pixels = _bytes(torch.as_tensor(images))
    classes = None if labels is None else torch.as_tensor(labels).long()
    if classes is not None and classes.shape != pixels.shape[:1]:
        raise InvalidInput(f"labels have shape {tuple(classes.shape)}; expected ({len(pixels)},), one for each image")
    arrays = {"image": pixels} | ({} if classes is None else {"class": classes})
    path = folder / f"images-{digest('', arrays)}.npz"
    if not path.exists():
        with atomic_write(path) as part:
            np.savez(part, **{name: values.numpy() for name, values in arrays.items()})  # type: ignore[arg-type]
    return json.dumps({"class": "invariances.data.ArrayFile", "path": str(path)})


def _bytes(images: Tensor) -> Tensor:
    """Images as bytes, (N, C, H, W)."""
    images = images[:, None] if images.ndim == 3 else images
    if images.ndim != 4:
        raise InvalidInput(f"images have shape {tuple(images.shape)}; expected (N, C, H, W)")
    images = channels_first(images)
    if images.dtype == torch.uint8:
        return images.contiguous()
    low, high = images.min().item(), images.max().item()
    if not images.is_floating_point() or low < -1.01 or high > 1.01 or low >= 0:
        remedy = "; for floats in [0, 1] use 2 * images - 1" if low >= 0 and high <= 1 else ""
        raise InvalidInput(
            f"images are {images.dtype} in [{low:g}, {high:g}]; expected floats in [-1, 1], or bytes{remedy}"
        )
    return to_uint8(images)
