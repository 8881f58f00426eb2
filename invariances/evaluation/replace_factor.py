"""The one operation that shows what a factor means: exchange it, and leave the rest alone."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

Factor = Float[Tensor, "_examples _channels 1 1"]


def replace_factor(factors: Sequence[Factor], k: int, new: Factor) -> list[Factor]:
    """The factors of examples, with another k-th one.

    Args:
        factors: each (B, N_k, 1, 1).
        k: which one is exchanged.
        new: (B · n, N_k, 1, 1), n of them for each example, all of one example after another.

    Returns:
        factors of B · n examples.

    >>> import torch
    >>> digit, colour = torch.zeros(2, 3, 1, 1), torch.zeros(2, 1, 1, 1)
    >>> [e.shape[0] for e in replace_factor([digit, colour], 1, torch.ones(8, 1, 1, 1))]
    [8, 8]
    """
    n = len(new) // len(factors[k])
    return [new if i == k else e.repeat_interleave(n, dim=0) for i, e in enumerate(factors)]
