"""How the weights of a file differ from those of a network."""

from collections.abc import Iterable, Mapping

from torch import Tensor


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
