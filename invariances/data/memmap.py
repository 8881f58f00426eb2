"""Images in a file, read as they are needed."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8


@dataclass(frozen=True)
class MemmapImages:
    """Bytes (N, C, H, W) in a memory-mapped file, of which some rows count.

    It travels to another process as the name of its file, not as its content.

    Args:
        path: of the file: all rows, one after the other.
        shape: of all rows, (N, C, H, W).
        rows: those that count, in order; all if `None`.
    """

    path: Path
    shape: tuple[int, ...]
    rows: Int64[np.ndarray, " kept"] | None = None

    @cached_property
    def _bytes(self) -> np.ndarray:
        return np.memmap(self.path, np.uint8, mode="r", shape=self.shape).view(np.ndarray)

    def __len__(self) -> int:
        return self.shape[0] if self.rows is None else len(self.rows)

    def __getitem__(self, index: Int64[np.ndarray, " batch"]) -> UInt8[np.ndarray, "batch c h w"]:
        return self._bytes[index if self.rows is None else self.rows[index]]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_bytes"}
