"""Inputs of the flows: vectors are checked and reshaped to rows (N, C) in float32 or float64."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.flows.layers.actnorm import restored_on_failure

PRECISIONS = (torch.float32, torch.float64)


def check_vectors(x: Tensor, channels: int, key: str, maps: bool = False) -> None:
    """Check the shape and dtype of a batch of vectors, (B, C, 1, 1) or (B, C).

    Args:
        x: the batch.
        channels: the number of channels expected.
        key: the constructor's argument that sets it, for the message.
        maps: whether feature maps (B, C, H, W) are allowed too.

    Raises:
        InvalidInput: x is not floating point, or of another shape.
    """
    fits = x.is_floating_point() and x.ndim >= 2 and x.shape[1] == channels
    if not fits or not (maps or x.shape[2:].numel() == 1):
        raise InvalidInput(
            f"vectors are {x.dtype} of shape {tuple(x.shape)}; expected floating point (B, {channels}, 1, 1) "
            f"or (B, {channels}), since {key} is {channels}"
        )


def precision(flow: nn.Module) -> torch.dtype:
    """The dtype in which a flow computes, which is the dtype of its weights.

    Raises:
        InvalidInput: half precision.
    """
    dtype = next(flow.parameters()).dtype
    if dtype not in PRECISIONS:
        raise InvalidInput(
            f"the weights of this flow are {dtype}, too coarse to invert it; keep them in float32 "
            " (precision 16-mixed or bf16-mixed in place of 16-true or bf16-true)"
        )
    return dtype


@contextmanager
def full_precision(flow: nn.Module, device: torch.device) -> Iterator[None]:
    """Disable autocast for a flow, and reset its ActNorms if a first batch is refused, see `restored_on_failure`."""
    with restored_on_failure(flow), torch.autocast(device.type, enabled=False):
        yield


def to_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Reshape (B, C, …) to rows (B · positions, C) of the given dtype.

    >>> to_rows(torch.rand(2, 3, 4, 5), torch.float64).shape
    torch.Size([40, 3])
    """
    return x.movedim(1, -1).flatten(0, -2).to(dtype)


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """Reshape rows (B · positions, C) to `shape`, (B, C, …): the inverse of `to_rows`.

    >>> x = torch.rand(2, 3, 4, 5)
    >>> torch.equal(from_rows(to_rows(x, x.dtype), x.shape), x)
    True
    """
    return rows.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def normal(shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Sample N(0, 1) in the device and dtype of `like`; with a CPU generator the values are the same on every device.

    >>> normal((2, 3), torch.Generator().manual_seed(0), torch.zeros(1)).shape
    torch.Size([2, 3])
    """
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
