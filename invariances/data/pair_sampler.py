"""Sampling of a second example for a pair: one with the same label, one with another, or any."""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from invariances.data.random_streams import RandomStreams
from invariances.errors import InvalidInput


class PairSampler:
    """Samples pairs by label, for a whole batch in a few array operations and without rejection.

    Examples are sorted by label, so that those of one label are a run. Another member of the run is one of the
    next (run length − 1) positions, cyclic within the run; an example outside the run is one of the remaining
    positions, cyclic within the whole order.

    Args:
        labels: (N,), int64.
        name: of the label, for messages and as the name of the random streams.

    Raises:
        InvalidInput: there are no examples.

    Example:
        >>> sampler = PairSampler(torch.tensor([5, 5, 8]), "class")
        >>> index = np.array([0, 1, 2])
        >>> streams = RandomStreams(seed=0, epoch=0, index=index)
        >>> sampler.same(index, streams).tolist()
        [1, 0, 2]
        >>> sampler.other(index, streams)[:2].tolist()
        [2, 2]
    """

    def __init__(self, labels: Int64[Tensor, " examples"], name: str) -> None:
        if len(labels) == 0:
            raise InvalidInput(f"pairs by {name} need at least one example, got none")
        self.name = name
        self.n = len(labels)
        values, counts = torch.unique(labels, return_counts=True)
        run = torch.searchsorted(values, labels).numpy()
        self._order = torch.argsort(labels, stable=True).numpy()
        self._position = np.argsort(self._order)  # of each example in the order
        self._start = (counts.cumsum(0) - counts).numpy()[run]
        self._count = counts.numpy()[run]
        self._values = values.tolist()

    def require_others(self) -> None:
        """Refuse labels for which `other` has nothing to choose from.

        Raises:
            InvalidInput: all examples have one label.
        """
        if len(self._values) == 1:
            raise InvalidInput(
                f"expected examples of more than one {self.name} for the pairs, but all {self.n} examples have "
                f"{self.name} {self._values[0]}"
            )

    def same(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Int64[np.ndarray, " batch"]:
        """Sample another example of the same label, uniformly; the example itself if it is the only one.

        Args:
            index: of the first examples, (B,).
            streams: random streams of these examples.

        Returns:
            indices of the second examples, (B,).
        """
        start, count = self._start[index], self._count[index]
        step = 1 + streams.below("same " + self.name, count - 1)
        return self._order[start + (self._position[index] - start + step) % count]

    def other(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Int64[np.ndarray, " batch"]:
        """Sample an example of another label, uniformly over those examples; see `require_others`.

        Args:
            index: of the first examples, (B,).
            streams: random streams of these examples.

        Returns:
            indices of the second examples, (B,).
        """
        start, count = self._start[index], self._count[index]
        step = streams.below("other " + self.name, self.n - count)
        return self._order[(start + count + step) % self.n]

    def any(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Int64[np.ndarray, " batch"]:
        """Sample any example, uniformly over all of them, the first one included.

        Args:
            index: of the first examples, (B,).
            streams: random streams of these examples.

        Returns:
            indices of the second examples, (B,).
        """
        return streams.below("any " + self.name, self.n)
