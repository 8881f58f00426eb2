"""Exact inputs and outputs of the published networks and formulas, in tests/golden/.

One safetensors file each; `index.json` says what a file shows, with which configuration, and the names and
shapes of its state dict where the weights are not stored but follow the rule of `filled`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"
INDEX: dict[str, dict[str, Any]] = json.loads((FOLDER / "index.json").read_text())


def load(name: str, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a file whose names begin with `prefix`, without it."""
    tensors = load_file(FOLDER / f"{name}.safetensors")
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def entry(name: str) -> dict[str, Any]:
    """All that `index.json` says about a file."""
    return INDEX[name]


def config(name: str) -> dict[str, Any]:
    """The configuration: sections of constructor arguments."""
    return INDEX[name]["config"]


def filled(
    shapes: Mapping[str, Sequence[int]],
    gain: float = 1.0,
    ints: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """A state dict by the fill rule.

    With k the position of a name in sorted order, v = RandomState(1000 + k).standard_normal(n) becomes
    |1 + 0.1 v| for scales and running variances, gain·v / √fan for weights of two or more dimensions
    (fan: elements / first dimension), and 0.1 v for the rest. Integers come from `ints`; marks are 1 and
    counters 0 unless given there.
    """
    state = {}
    for k, (name, shape) in enumerate(sorted(shapes.items())):
        integer = _integer(name) if name not in (ints or {}) else ints[name]
        state[name] = _fill(name, shape, k, gain).to(dtype) if integer is None else integer
    return state


def _integer(name: str) -> Tensor | None:
    if name.endswith("initialized"):
        return torch.tensor(1, dtype=torch.uint8)
    return torch.tensor(0) if name.endswith("num_batches_tracked") else None


def _fill(name: str, shape: Sequence[int], k: int, gain: float) -> Tensor:
    n = int(np.prod(shape))
    v = np.random.RandomState(1000 + k).standard_normal(n)
    if name.endswith(("scale", "running_var")):
        v = np.abs(1 + 0.1 * v)
    elif len(shape) >= 2 and not name.endswith("loc"):
        v = v * gain / np.sqrt(n / shape[0])
    else:
        v = 0.1 * v
    return torch.from_numpy(v.reshape(shape))
