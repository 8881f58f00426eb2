"""Errors of torch that mean: out of memory."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the CPU had too little memory. On the CPU torch raises a plain RuntimeError.

    >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory")), is_out_of_memory(RuntimeError("shapes"))
    (True, False)
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
