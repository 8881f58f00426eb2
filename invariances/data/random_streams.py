"""Random numbers as a function of (seed, epoch, example).

With a generator that has a state, the numbers of an example depend on its batch, worker and run. Here a number
is a hash of where it is used: no state, no order, whole batches at once (a counter-based generator; Salmon et
al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt32


def mix(x: UInt32[np.ndarray, "..."]) -> UInt32[np.ndarray, "..."]:
    """A bijection of 32-bit words under which each input bit flips each output bit with chance ½.

    Its constants are those of "lowbias32" (C. Wellons, hash-prospector).
    """
    shifted = x >> np.uint32(16)
    x = x ^ shifted
    for factor, shift in ((0x7FEB352D, 15), (0x846CA68B, 16)):
        np.multiply(x, np.uint32(factor), out=x)
        np.right_shift(x, np.uint32(shift), out=shifted)
        np.bitwise_xor(x, shifted, out=x)
    return x


@lru_cache(maxsize=16)
def _mixed_range(n: int) -> UInt32[np.ndarray, "{n}"]:
    return mix(np.arange(n, dtype=np.uint32))


def _word(number: int) -> UInt32[np.ndarray, "1"]:
    return np.array([number & 0xFFFFFFFF], dtype=np.uint32)


@dataclass(frozen=True)
class RandomStreams:
    """The random numbers of a batch of examples in one epoch.

    Each use of randomness names its own `stream`. Word j of example i is

        mix(mix(j) ^ key_i),   key_i = mix(mix(mix(mix(seed) ^ epoch) ^ crc32(stream)) ^ i)

    Args:
        seed: of the run; integers that differ give unrelated numbers.
        epoch: counted from 0.
        index: of the examples in the data set, (B,).

    Example:
        >>> streams = RandomStreams(seed=0, epoch=3, index=np.array([4, 17]))
        >>> streams.uniform("hue", 5).shape
        (2, 5)
        >>> bool((streams[1:].uniform("hue", 5) == streams.uniform("hue", 5)[1:]).all())
        True
    """

    seed: int
    epoch: int
    index: Int64[np.ndarray, " batch"]

    def __getitem__(self, rows: slice) -> "RandomStreams":
        """The random streams of some of the examples."""
        return RandomStreams(self.seed, self.epoch, self.index[rows])

    def bits(self, stream: str, n: int) -> UInt32[np.ndarray, "batch {n}"]:
        """The first `n` random 32-bit words of each example."""
        key = mix(_word(self.seed))
        for number in (_word(self.epoch), _word(crc32(stream.encode())), self.index.astype(np.uint32)):
            key = mix(key ^ number)
        return mix(_mixed_range(n) ^ key[:, None])

    def uniform(self, stream: str, n: int) -> Float[np.ndarray, "batch {n}"]:
        """U[0, 1), `n` numbers for each example, multiples of 2⁻³²."""
        return self.bits(stream, n) * 2.0**-32

    def noise(self, stream: str, n: int) -> Float32[np.ndarray, "batch {n}"]:
        """U[0, 1), `n` numbers for each example, multiples of 2⁻¹⁶: half the work of `uniform`."""
        halves = self.bits(stream, (n + 1) // 2).view(np.uint16)[:, :n]
        return np.multiply(halves, np.float32(2.0**-16), dtype=np.float32)

    def below(self, stream: str, high: int | Int64[np.ndarray, " batch"]) -> Int64[np.ndarray, " batch"]:
        """One integer from {0 … high − 1} for each example; 0 where `high` is 0."""
        return (self.uniform(stream, 1)[:, 0] * high).astype(np.int64)
