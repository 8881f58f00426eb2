"""Checkpoint files: written all or nothing, read without running anything that they hold, loaded strictly.

A checkpoint is a Lightning checkpoint, `state_dict` with the trained model under `model.`, that also holds
the resolved config of its run under `config`. It consists of tensors, numbers, text, lists and dicts.
"""

import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invariances.errors import UserError, named
from invariances.utils.names import nearest

NAME = re.compile(r"model-(\d+)\.ckpt")
PREFIXES = ("", "model.", "module.", "model.module.", "module.model.", "_orig_mod.", "model._orig_mod.")
RESUMED = {"optimizer_states", "loops", "pytorch-lightning_version"}  # what a training goes on with beside weights
CONTAINERS = ("state_dict", "model_state_dict", "model")
BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how the files of torch < 1.6 begin


def numbered(folder: Path) -> list[Path]:
    """The files `model-<step>.ckpt` of a folder, by step: as a number, whatever their names or ages say."""
    matches = [NAME.fullmatch(path.name) for path in folder.glob("model-*.ckpt") if path.is_file()]
    steps = sorted((int(match[1]), match[0]) for match in matches if match)
    return [folder / name for _, name in steps]


def prune(folder: Path, keep: int) -> None:
    """Delete all but the `keep` whole checkpoints with the highest steps; damaged ones do not count."""
    whole = [path for path in numbered(folder) if zipfile.is_zipfile(path)]
    for path in whole[:-keep]:
        path.unlink(missing_ok=True)


def damage(path: Path) -> str | None:
    """What is wrong with a file, as far as its bytes tell: checksums are compared, nothing is unpickled."""
    if not path.exists():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.ckpt")])
        return "no such file" + (f"; did you mean {path.with_name(near)}?" if near else "")
    if path.is_dir():
        held = numbered(path)
        return "is a folder; name a checkpoint" + (f", such as {held[-1]}" if held else "")
    size = path.stat().st_size
    broken = f"incomplete or not a checkpoint ({size:,} bytes); copy or download it again, or name another"
    if zipfile.is_zipfile(path):
        return None if _archive_is_sound(path) else broken
    with path.open("rb") as file:
        return None if file.read(len(BEFORE_ZIP)) == BEFORE_ZIP else broken


def _archive_is_sound(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
            saved = "data.pkl" in names and "constants.pkl" not in names  # which TorchScript, a program, has
            return saved and archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, ValueError):
        return False


def require(path: Path) -> None:
    """Refuse a file that is missing, damaged or no checkpoint.

    Raises:
        UserError: names the file and what is wrong with it.
    """
    try:
        reason = damage(path)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    if reason is not None:
        raise UserError(f"{path}: {reason}")


def load(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint, on the CPU. Loading builds tensors and plain containers and runs nothing.

    Raises:
        UserError: missing, a folder, incomplete, not a checkpoint, or with objects of other classes inside.
    """
    path = Path(path)
    require(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path}: {_unreadable(error)}") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}; expected a dict with the weights of a model")
    return state


def _unreadable(error: Exception) -> str:
    """Why a file was not loaded, in our words: torch's own advise to load it without protection."""
    name = re.search(r"GLOBAL (\S+)", str(error))
    if name is None:
        return "incomplete or not a checkpoint; copy or download it again, or name another"
    return f"holds more than weights and plain values ({name[1]}); expected one saved from model.state_dict()"


def save(source: Any, path: str | Path) -> None:
    """Write a checkpoint all or nothing: whatever happens, `path` holds the old file or the whole new one.

    Args:
        source: a dict, or a Lightning Trainer (then call it on every process; the first one writes).
        path: the final name; until the file is complete it is called `<name>.part`.

    Raises:
        UserError: no space, no permission, or an object that could not be loaded again.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    writes = getattr(source, "is_global_zero", True)
    try:
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(source, part)
            if writes:
                _publish(part, path)
    finally:
        if writes:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _write(source: Any, part: Path) -> None:
    if isinstance(source, Mapping):
        torch.save(source, part)
    else:
        source.save_checkpoint(part)


def _publish(part: Path, path: Path) -> None:
    """Give a complete file its name, once it is on the disk and known to load."""
    torch.load(part, map_location="cpu", weights_only=True, mmap=True)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: not saved, because it {_unreadable(error)}") from error
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not saved, because an object in it cannot be stored ({error})") from error
    except (OSError, RuntimeError) as error:
        folder = next(parent for parent in path.parents if parent.exists())
        free = shutil.disk_usage(folder).free / 1e6
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{path}: not saved ({reason}); {free:,.0f} MB are free in {folder}") from error


def step_of(state: Mapping[str, Any], path: str | Path) -> int:
    """The step that a training goes on behind.

    Raises:
        UserError: the checkpoint holds weights alone, without optimiser and step counter.
    """
    weights = state.get("state_dict")
    if not isinstance(weights, Mapping) or "step" not in weights or not state.keys() >= RESUMED:
        raise UserError(f"{path}: holds weights alone, which no training can go on from; add -r to begin a new one")
    return int(weights["step"])


def weights_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in a checkpoint: under `state_dict` or `model`, or the dict itself."""
    for name in CONTAINERS:
        if isinstance(state.get(name), Mapping):
            return weights_of(state[name])
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def load_weights(module: nn.Module, state: Mapping[str, Any], path: str | Path) -> None:
    """Put a checkpoint's weights into a module, all of them.

    A prefix that wrappers put before every name (`module.`, `model.`) is taken off; where a checkpoint holds
    other networks beside `model.`, those are left alone. Where no name is known, but the module can load the
    released checkpoints of the papers (`load_released`), it is taken for one of them.

    Args:
        module: takes the weights.
        state: as `load` gives it, or a state dict.
        path: where `state` comes from, for messages.

    Raises:
        UserError: weights are missing, unknown, of another shape or not finite: how many, and the first of them.
    """
    weights, expected = weights_of(state), module.state_dict()
    prefix = max(PREFIXES, key=lambda prefix: sum(prefix + name in weights for name in expected))
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if hasattr(module, "load_released") and own and own.keys().isdisjoint(expected):
        with named(str(path)):
            module.load_released(own)
    else:
        _load_own(module, own, path)
    if broken := [name for name, weight in module.named_parameters() if not weight.isfinite().all()]:
        raise UserError(f"{path}: {len(broken)} weights are not finite ({_first(broken)}); use an earlier checkpoint")


def _load_own(module: nn.Module, own: Mapping[str, Tensor], path: str | Path) -> None:
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        problem = _mismatch(own, module.state_dict()) or str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: does not fit {type(module).__name__}: {problem}") from error


def _mismatch(own: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """How two sets of weights differ, in words; empty where names and shapes agree."""
    missing = [name for name in expected if name not in own]
    unknown = [name for name in own if name not in expected]
    if expected and len(missing) == len(expected):
        found = f"it has {unknown[0]} …" if unknown else "it has none"
        return f"none of the {len(expected)} weights is in it ({found}, expected {missing[0]} …)"
    shapes = [
        f"{name} {tuple(own[name].shape)} for {tuple(expected[name].shape)}"
        for name in expected
        if name in own and own[name].shape != expected[name].shape
    ]
    groups = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    parts = [f"{len(names)} {what} ({_first(names)})" for what, names in groups.items() if names]
    return f"of {len(expected)} weights " + ", ".join(parts) if parts else ""


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
