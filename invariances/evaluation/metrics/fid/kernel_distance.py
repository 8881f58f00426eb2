"""The kernel distance (KID) of two sets of feature vectors.

It uses all pairs, not random subsets, so it depends on neither order nor seed. Pairs are computed in blocks of rows:
time grows with n², memory with n. All in float64 on the CPU.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.errors import InvalidInput

BLOCK = 1000  # rows at a time


def kernel_distance(
    features1: Float[Tensor, "n1 features"], features2: Float[Tensor, "n2 features"]
) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel `k(x, y) = (x·y / D + 1)³` (KID).

    Its expectation is 0 for two sets of one distribution, at any number of samples; single values may be
    negative. The usual mean over random subsets estimates the same with more variance.

    Args:
        features1, features2: (n1, D) and (n2, D), at least 2 rows each.

    Raises:
        InvalidInput: a set has fewer than 2 vectors.

    Source: Bińkowski et al. 2018, eq. 4.

    >>> kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]]))
    -13.0
    """
    x, y = features1.to("cpu", torch.float64), features2.to("cpu", torch.float64)
    if min(len(x), len(y)) < 2:
        raise InvalidInput(f"the kernel distance needs at least 2 vectors of each set, got {len(x)} and {len(y)}")
    return (
        _mean_kernel_within(x) + _mean_kernel_within(y) - 2 * _kernel_sum(x, y) / (len(x) * len(y))
    ).item()


def _mean_kernel_within(x: Tensor) -> Tensor:
    """Mean of k over all pairs of different vectors."""
    diagonal = (x.square().sum(1) / x.shape[1] + 1).pow(3).sum()
    return (_kernel_sum(x, x) - diagonal) / (len(x) * (len(x) - 1))


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([(rows @ y.T / y.shape[1] + 1).pow(3).sum() for rows in x.split(BLOCK)]).sum()
