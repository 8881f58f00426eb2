"""Replace one factor of examples and keep all others."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

Factor = Float[Tensor, "_examples _channels 1 1"]


def replace_factor(factors: Sequence[Factor], k: int, new: Factor) -> list[Factor]:
    """Replace the k-th factor of examples by n others each.

    Args:
        factors: each (B, N_k, 1, 1).
        k: index of the factor to replace.
        new: (B · n, N_k, 1, 1), n for each example, grouped by example.

    Returns:
        factors of B · n examples, each (B · n, N_j, 1, 1).

    >>> import torch
    >>> digit, colour = torch.zeros(2, 3, 1, 1), torch.zeros(2, 1, 1, 1)
    >>> [e.shape[0] for e in replace_factor([digit, colour], 1, torch.ones(8, 1, 1, 1))]
    [8, 8]
    """
    n = len(new) // len(factors[k])
    return [new if i == k else e.repeat_interleave(n, dim=0) for i, e in enumerate(factors)]
