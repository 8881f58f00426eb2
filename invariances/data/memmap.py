"""Images in a memory-mapped file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8


@dataclass(frozen=True)
class MemmapImages:
    """Bytes (N, C, H, W) in a memory-mapped file, or some of its rows.

    Pickled, as for a worker process, it is the name of the file, not the content.

    Args:
        path: of the file, which holds all rows one after the other.
        shape: of the file's content, (N, C, H, W).
        rows: indices of the rows to use, in order; all if `None`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "images"
        >>> _ = path.write_bytes(bytes(range(12)))
        >>> images = MemmapImages(path, (4, 3, 1, 1), rows=np.array([0, 3]))
        >>> len(images), images[np.array([1])].ravel().tolist()
        (2, [9, 10, 11])
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
