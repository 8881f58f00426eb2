"""The door of the flows: inside, vectors are rows (N, C) in float32 or float64, whatever comes in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from invariances.flows.layers.actnorm import restored_on_failure

PRECISIONS = (torch.float32, torch.float64)


def require(**limits: tuple[int, int]) -> None:
    """Refuse arguments that are too small.

    Args:
        limits: argument to its value and the least value allowed.

    >>> require(n_flow=(0, 1))
    Traceback (most recent call last):
    ValueError: n_flow is 0; expected 1 or more
    """
    for name, (value, least) in limits.items():
        if value < least:
            raise ValueError(f"{name} is {value}; expected {least} or more")


def check_vectors(x: Tensor, channels: int, key: str, maps: bool = False) -> None:
    """Refuse what is no batch of vectors with so many channels; `key` is the argument that set the number.

    With `maps`, maps of vectors are welcome too.
    """
    fits = x.is_floating_point() and x.ndim >= 2 and x.shape[1] == channels
    if not fits or not (maps or x.shape[2:].numel() == 1):
        raise ValueError(
            f"vectors are {x.dtype} of shape {tuple(x.shape)}; expected floating point (B, {channels}, 1, 1) "
            f"or (B, {channels}), since {key} is {channels}"
        )


def precision(flow: nn.Module) -> torch.dtype:
    """The dtype that a flow computes in, that of its weights.

    Raises:
        ValueError: half precision.
    """
    dtype = next(flow.parameters()).dtype
    if dtype not in PRECISIONS:
        raise ValueError(
            f"the weights of this flow are {dtype}, which inverts it too roughly to be of use; keep them in "
            "float32 (precision 16-mixed or bf16-mixed in place of 16-true or bf16-true)"
        )
    return dtype


@contextmanager
def full_precision(flow: nn.Module, device: torch.device) -> Iterator[None]:
    """Compute in full precision also under autocast; a failed first batch leaves no ActNorm initialised."""
    with restored_on_failure(flow), torch.autocast(device.type, enabled=False):
        yield


def to_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, C, …) -> (B · positions, C).

    >>> to_rows(torch.rand(2, 3, 4, 5), torch.float64).shape
    torch.Size([40, 3])
    """
    return x.movedim(1, -1).flatten(0, -2).to(dtype)


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """Back to (B, C, …); `shape` is that of the tensor the rows come from.

    >>> x = torch.rand(2, 3, 4, 5)
    >>> torch.equal(from_rows(to_rows(x, x.dtype), x.shape), x)
    True
    """
    return rows.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def normal(shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draw from N(0, 1) as `like` in device and dtype; a CPU generator draws the same for every device."""
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
