"""Scores that compare two sets of feature vectors pair by pair: kernel distance, precision, recall.

They use all pairs, not random subsets, so they depend on neither order nor seed. Pairs are computed in blocks
of rows: time grows with n², memory with n. All in float64 on the CPU.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 1000  # rows at a time
NEIGHBOURS = 3  # how far a vector's surroundings reach, in nearest others of its set
SAME = 1e-12  # squared distance over squared norms below which two vectors are the same up to rounding


def kernel_distance(
    features1: Float[Tensor, "n1 features"], features2: Float[Tensor, "n2 features"]
) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel `k(x, y) = (x·y / D + 1)³` (KID).

    Its expectation is 0 for two sets of one distribution, at any number of samples; single values may be
    negative. Source: Bińkowski et al. 2018, eq. 4. The usual mean over random subsets estimates the same with
    more variance.

    Raises:
        ValueError: a set has fewer than 2 vectors.
    """
    x, y = features1.to("cpu", torch.float64), features2.to("cpu", torch.float64)
    if min(len(x), len(y)) < 2:
        raise ValueError(
            f"the kernel distance needs at least 2 vectors of each set, got {len(x)} and {len(y)}"
        )
    return (
        _mean_kernel_within(x) + _mean_kernel_within(y) - 2 * _kernel_sum(x, y) / (len(x) * len(y))
    ).item()


def _mean_kernel_within(x: Tensor) -> Tensor:
    """Mean of k over all pairs of different vectors."""
    with_themselves = (x.square().sum(1) / x.shape[1] + 1).pow(3).sum()
    return (_kernel_sum(x, x) - with_themselves) / (len(x) * (len(x) - 1))


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([(rows @ y.T / y.shape[1] + 1).pow(3).sum() for rows in x.split(BLOCK)]).sum()


def precision_and_recall(
    real: Float[Tensor, "n1 features"], samples: Float[Tensor, "n2 features"], neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Part of the samples that lie among real images, and part of the real images that lie among the samples.

    A vector lies among a set if it is as close to one of its members as that member's `neighbours`-th nearest
    other member. Source: Kynkäänniemi et al. 2019, eq. 2.

    Returns:
        precision and recall, each in [0, 1].

    Raises:
        ValueError: a set has no more than `neighbours` vectors.
    """
    if min(len(real), len(samples)) <= neighbours:
        raise ValueError(
            f"precision and recall need more than {neighbours} vectors of each set, got {len(real)} and "
            f"{len(samples)}"
        )
    centre = real.mean(dim=0, keepdim=True)
    real, samples = ((rows - centre).to("cpu", torch.float64) for rows in (real, samples))
    return _covered(samples, real, neighbours), _covered(real, samples, neighbours)


def _covered(queries: Tensor, members: Tensor, neighbours: int) -> float:
    """Part of the queries that lie among the members."""
    # a member's nearest is itself, at distance 0
    radii = torch.cat([d.kthvalue(neighbours + 1).values for d in _squared_distances(members, members)])
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
        yield torch.where(distances > SAME * norms, distances, 0.0)
