"""Images and their classes in a NumPy file."""

import zipfile

import numpy as np
import torch

from invariances.data.base import ImageSet, resize
from invariances.errors import InvalidInput
from invariances.utils.arguments import require_at_least


class ArrayFile(ImageSet):
    """Images in an .npz file: `image` (C, size, size) in [-1, 1), and labels.

    The file holds `image`, bytes (N, C, H, W), and may hold labels, integers (N,), under other names, such as `class`.

    Args:
        path: of the file.
        size: of the images in pixels; their own if it is None.
        seed: of the dequantisation noise; `None` fixes it.

    Raises:
        InvalidInput: no such file, or it holds something else.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "images.npz"
        >>> np.savez(path, **{"image": np.zeros((4, 1, 8, 8), dtype=np.uint8), "class": np.arange(4)})
        >>> data = ArrayFile(str(path))
        >>> data[3]["image"].shape, data[3]["class"]
        (torch.Size([1, 8, 8]), tensor(3))
    """

    def __init__(self, path: str, size: int | None = None, seed: int | None = 0) -> None:
        if size is not None:
            require_at_least(size=(size, 1))
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: np.asarray(values) for name, values in file.items()}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidInput(f"{path}: is no .npz file that can be read ({error})") from error
        images = arrays.pop("image", np.empty(0))
        if images.dtype != np.uint8 or images.ndim != 4:
            raise InvalidInput(f"{path}: image is {images.dtype} {images.shape}; expected uint8 (N, C, H, W)")
        labels = {name: torch.from_numpy(values.astype(np.int64)) for name, values in arrays.items()}
        super().__init__(images if size is None else resize(images, size), labels, seed)
