"""Trained models in safetensors files: weights, and the config that builds their networks in the file's metadata."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from invariances.errors import UserError

ENDING = ".safetensors"
CONFIG = "config"  # key of the metadata


def save(weights: Mapping[str, Tensor], config: Mapping[str, Any], path: Path) -> None:
    """Write weights, floating-point ones in half precision, with their config.

    Args:
        weights: name -> tensor, as in a checkpoint.
        config: of plain values.
        path: ends with .safetensors.
    """
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    save_file({name: value.contiguous() for name, value in halves.items()}, path, {CONFIG: json.dumps(config)})


def load(path: Path) -> dict[str, Any]:
    """Read a file as the contents of a checkpoint: `state_dict`, and `config` if the file has one.

    Raises:
        UserError: it is no complete safetensors file.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp(), "model.safetensors")
    >>> save({"model.weight": torch.ones(2)}, {"model": "torch.nn.Linear"}, path)
    >>> load(path)
    {'state_dict': {'model.weight': tensor([1., 1.], dtype=torch.float16)}, 'config': {'model': 'torch.nn.Linear'}}
    """
    with _opened(path) as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    config = load_config(path)
    return {"state_dict": weights} | ({CONFIG: config} if config else {})


def load_config(path: Path) -> dict[str, Any]:
    """Read the config alone; empty if the file has none.

    Raises:
        UserError: it is no complete safetensors file.
    """
    with _opened(path) as file:
        return json.loads((file.metadata() or {}).get(CONFIG, "{}"))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error}); copy or download it again") from error
