"""The size of a network is estimated before it is built, so that a wrong number in a config fills no memory."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invariances.errors import UserError

MOST_TENSORS = 30_000  # of one network
NEW = {"empty", "zeros", "ones", "full", "rand", "randn", "randperm", "eye", "arange", "linspace", "tensor"}
CGROUP = Path("/sys/fs/cgroup/memory.max")  # the limit of a container


class _TooLarge(Exception):
    """Ends the construction of a network."""


def require_fits(build: Callable[[], Any], section: str, memory: int | None = None) -> None:
    """Refuse a network whose weights alone need more memory than this machine has.

    It is built on torch's `meta` device, where tensors have shapes and no values. What cannot be built there, because
    its constructor needs values or refuses its arguments, is let through.

    Args:
        build: calls the constructor.
        section: key of its arguments, for the message.
        memory: in bytes; by default all of this machine's.

    Raises:
        UserError: names the section, the size and the memory.

    >>> from torch import nn
    >>> require_fits(lambda: nn.Linear(10**6, 10**6), "Model", memory=10**9)
    Traceback (most recent call last):
    invariances.errors.UserError: Model: a network of more than 4,000 GB, but this machine has 1 GB; use smaller numbers
    """
    import torch  # a config is checked without it

    limit = memory or total_memory()
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), _counting(limit):
            build()
    except _TooLarge as error:
        raise UserError(
            f"{section}: a network of more than {error}, but this machine has {limit / 1e9:,.0f} GB; "
            "use smaller numbers"
        ) from None
    except Exception:  # the real construction raises it again, if it is not about the meta device
        return


def _counting(limit: int) -> Any:
    """A context in which new tensors are counted, and their bytes added up."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Counting(TorchFunctionMode):
        n_tensors = n_bytes = 0

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            if getattr(function, "__name__", "") in NEW and isinstance(made, torch.Tensor):
                self.n_tensors += 1
                self.n_bytes += made.numel() * made.itemsize
                if self.n_bytes > limit:
                    raise _TooLarge(f"{self.n_bytes / 1e9:,.0f} GB")
                if self.n_tensors > MOST_TENSORS:
                    raise _TooLarge(f"{MOST_TENSORS:,} tensors")
            return made

    return Counting()


def total_memory() -> int:
    """The memory of this machine, or of its container, in bytes.

    >>> total_memory() > 10**6
    True
    """
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**40
    try:
        return min(installed, int(CGROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return installed
