"""Drawing a partner for an example: one that has the same label, or one that has another."""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from invariances.data.random_streams import RandomStreams


class PairSampler:
    """PairSampler by label, for a whole batch in a few array operations, and never by trial and error.

    Positions are sorted by label, so that the examples of one label are a run. Another member of the run is
    one of the next (run length − 1) places around it; anything outside the run is one of the other places
    around the whole.

    Args:
        labels: (N,), int64.
        name: of the label, for messages.

    Raises:
        ValueError: there is no example.
    """

    def __init__(self, labels: Int64[Tensor, " examples"], name: str) -> None:
        if len(labels) == 0:
            raise ValueError(f"pairs by {name} need at least one example; there is none")
        self.name = name
        self.n = len(labels)
        values, counts = torch.unique(labels, return_counts=True)
        run = torch.searchsorted(values, labels).numpy()
        self._order = torch.argsort(labels, stable=True).numpy()
        self._place = np.argsort(self._order)  # where in the order an example stands
        self._start = (counts.cumsum(0) - counts).numpy()[run]
        self._count = counts.numpy()[run]
        self._values = values.tolist()

    def require_others(self) -> None:
        """Refuse labels of which `other` could draw nothing.

        Raises:
            ValueError: all examples have one label.
        """
        if len(self._values) == 1:
            raise ValueError(
                f"partners of another {self.name} are expected, but all {self.n} examples have "
                f"{self.name} {self._values[0]}"
            )

    def same(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Int64[np.ndarray, " batch"]:
        """Another example of the same label, each as likely; the example itself where it is the only one."""
        start, count = self._start[index], self._count[index]
        step = 1 + streams.below("same " + self.name, count - 1)
        return self._order[start + (self._place[index] - start + step) % count]

    def other(self, index: Int64[np.ndarray, " batch"], streams: RandomStreams) -> Int64[np.ndarray, " batch"]:
        """An example of another label, each as likely; see `require_others`."""
        start, count = self._start[index], self._count[index]
        step = streams.below("other " + self.name, self.n - count)
        return self._order[(start + count + step) % self.n]
