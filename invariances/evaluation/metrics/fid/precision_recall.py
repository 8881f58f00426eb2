"""Precision and recall of a set of feature vectors with respect to another one.

Distances of all pairs are computed in blocks of rows: time grows with n², memory with n. All in float64 on the CPU.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.errors import InvalidInput

BLOCK = 1000  # rows at a time
NEIGHBOURS = 3  # the k-th nearest neighbour sets the radius around a vector
EQUAL = 1e-12  # squared distance over squared norms below which two vectors are the same up to rounding


def precision_and_recall(
    real: Float[Tensor, "n1 features"], samples: Float[Tensor, "n2 features"], neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Precision: share of the samples among real images; recall: share of the real images among the samples.

    A vector lies among a set if it is at least as close to one of its members as that member's `neighbours`-th
    nearest other member.

    Args:
        real, samples: features, (n1, D) and (n2, D).
        neighbours: k; each set needs more vectors.

    Returns:
        precision and recall, each in [0, 1].

    Raises:
        InvalidInput: a set has no more than `neighbours` vectors.

    Source: Kynkäänniemi et al. 2019, eq. 2.

    >>> real = torch.arange(8.0).reshape(8, 1)
    >>> precision_and_recall(real, real[:4] + 0.1)
    (1.0, 0.875)
    """
    if min(len(real), len(samples)) <= neighbours:
        raise InvalidInput(
            f"precision and recall need more than {neighbours} vectors of each set, got {len(real)} and "
            f"{len(samples)}"
        )
    centre = real.mean(dim=0, keepdim=True)
    real, samples = ((rows - centre).to("cpu", torch.float64) for rows in (real, samples))
    return _covered(samples, real, neighbours), _covered(real, samples, neighbours)


def _covered(queries: Tensor, members: Tensor, neighbours: int) -> float:
    """Share of the queries that lie among the members."""
    # a member's nearest is itself, at distance 0
    nearest = [d.topk(neighbours + 1, largest=False).values for d in _squared_distances(members, members)]
    radii = torch.cat([distances[:, -1] for distances in nearest])
    return (
        torch.cat([(d <= radii).any(dim=1) for d in _squared_distances(queries, members)])
        .double()
        .mean()
        .item()
    )


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Blocks (BLOCK, n) of the matrix of squared distances, exactly 0 between equal vectors."""
    for rows in x.split(BLOCK):
        norms = rows.square().sum(1, keepdim=True) + y.square().sum(1)
        distances = norms - 2 * rows @ y.T
        yield torch.where(distances > EQUAL * norms, distances, 0.0)
