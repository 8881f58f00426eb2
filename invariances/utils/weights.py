"""Weights compared: with those of a file, and with those of another network."""

import hashlib
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

DIGITS = 12  # of a fingerprint


def mismatch(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """How two sets of weights differ in names and shapes, in one line; empty if they agree.

    >>> import torch
    >>> mismatch({"a": torch.zeros(2), "c": torch.zeros(1)}, {"a": torch.zeros(3), "b": torch.zeros(1)})
    'of 2 weights 1 missing (b), 1 unknown (c), 1 of another shape (a (2,) instead of (3,))'
    """
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    if expected and len(missing) == len(expected):
        others = f"it has {unknown[0]} …" if unknown else "it has none"
        return f"none of the {len(expected)} weights is in it ({others}, expected {missing[0]} …)"
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(weight.shape)}"
        for name, weight in expected.items()
        if name in found and found[name].shape != weight.shape
    ]
    groups = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    parts = [f"{len(names)} {kind} ({first(names)})" for kind, names in groups.items() if names]
    return f"of {len(expected)} weights " + ", ".join(parts) if parts else ""


def first(names: Iterable[str], n: int = 3) -> str:
    """The first few of many names, for a message.

    >>> first("abcd")
    'a, b, c …'
    """
    names = list(names)
    return ", ".join(names[:n]) + (" …" if len(names) > n else "")


def not_finite(module: nn.Module) -> list[str]:
    """The names of a module's weights and stored buffers that hold NaN or infinity.

    >>> norm = nn.BatchNorm1d(2)
    >>> norm.running_var[1] = torch.nan
    >>> not_finite(norm)
    ['running_var']
    """
    stored = {**dict(module.named_parameters()), **module.state_dict()}
    return [n for n, v in stored.items() if isinstance(v, Tensor) and not v.detach().isfinite().all()]


def fingerprint(network: nn.Module) -> str:
    """The first digits of a hash of a network's architecture, settings and weights.

    Two networks have one fingerprint if they print alike and all their parameters and buffers are equal bit for bit,
    on whatever device.

    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> fingerprint(a) == fingerprint(b), fingerprint(a) == fingerprint(a)
    (False, True)
    """
    addresses = re.compile("0x[0-9a-f]+")  # of functions, which differ from process to process
    weights = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    return digest(addresses.sub("", repr(network)), weights)


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """The first digits of a hash of a text and of tensors with their names.

    >>> digest("", {"a": torch.zeros(2)}) == digest("", {"a": torch.zeros(2, 1)})
    False
    """
    found = hashlib.sha256(text.encode())
    for name, value in tensors.items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:DIGITS]
