"""Weights of a network under study from a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from invariances.errors import UserError
from invariances.utils import checkpoints
from invariances.utils.names import hint
from invariances.utils.weights import first, mismatch

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors")


def is_file(weights: str | Path) -> bool:
    """Whether weights are given as a file, and not by name.

    >>> is_file("net.pt"), is_file("weights/net"), is_file("IMAGENET1K_V1")
    (True, True, False)
    """
    path = Path(weights)
    return len(path.parts) > 1 or path.suffix in SUFFIXES or path.is_file()


def load_file(network: nn.Module, path: str | Path, partial: bool = False) -> str | None:
    """Load a state dict into a network: bare, under `state_dict`, or with `module.` or `model.` before its names.

    Args:
        network: receives the weights.
        path: of the file.
        partial: whether weights may be missing in the file; these stay as they are.

    Returns:
        what is missing, in one line; None if nothing is.

    Raises:
        UserError: the file cannot be read, or its weights do not fit: how many, and the first of them.
    """
    path = Path(path)
    if not path.exists():
        near = hint(path.name, _beside(path))
        raise UserError(f"{path}: no such file{near}; expected one of torch.save(net.state_dict(), FILE)")
    state = checkpoints.load(path)
    if not partial:
        with _hinted():
            checkpoints.load_weights(network, state, path)
        return None
    expected = network.state_dict()
    found = checkpoints.without_prefix(checkpoints.weights_of(state), expected)
    fitting = {name: weight for name, weight in found.items() if name in expected}
    shapes = [name for name, weight in fitting.items() if weight.shape != expected[name].shape]
    if shapes or not fitting:
        raise UserError(f"{path}: does not fit {type(network).__name__}: {mismatch(found, expected)}")
    checkpoints.load_weights(network, expected | fitting, path)
    return _missing(path, expected.keys() - fitting.keys(), len(expected), found.keys() - expected.keys())


def _beside(path: Path) -> list[str]:
    """Files of weights in the folder of a path."""
    return sorted(file.name for file in path.parent.glob("*") if file.suffix in SUFFIXES)


@contextmanager
def _hinted() -> Iterator[None]:
    """Add to the refusal of a file that lacks weights how to use it all the same."""
    try:
        yield
    except UserError as error:
        if " missing (" not in str(error) or " of another shape " in str(error):
            raise
        remedy = "save all of net.state_dict(), or have start values in a config with weights_partial: true"
        raise UserError(f"{error}; {remedy}") from error


def _missing(path: Path, missing: set[str], total: int, unused: set[str]) -> str | None:
    """What a file does not hold, in words.

    >>> _missing(Path("a.pt"), {"fc.bias"}, 12, set())
    'a.pt holds 11 of 12 weights; 1 has its start value (fc.bias)'
    """
    if not missing:
        return None
    verb = "has its start value" if len(missing) == 1 else "have their start values"
    rest = f"; of the file {len(unused)} not used ({first(sorted(unused))})" if unused else ""
    found = f"{path} holds {total - len(missing)} of {total} weights"
    return f"{found}; {len(missing)} {verb} ({first(sorted(missing))}){rest}"
