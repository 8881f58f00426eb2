"""Checkpoint files: written atomically, read without executing code from the file, loaded strictly.

A checkpoint is a Lightning checkpoint, `state_dict` with the trained model under `model.`, that also holds
the resolved config of its run under `config`. It consists of tensors, numbers, text, lists and dicts.
"""

import os
import pickle
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invariances.errors import UserError
from invariances.utils.memory import is_out_of_memory
from invariances.utils.names import nearest
from invariances.utils.weights import first, mismatch, not_finite

NAME = re.compile(r"model-(\d+)\.ckpt")
PREFIXES = ("", "model.", "module.", "model.module.", "module.model.", "_orig_mod.", "model._orig_mod.")
RESUME_KEYS = {"optimizer_states", "loops", "pytorch-lightning_version"}  # needed to resume, besides the weights
CONTAINERS = ("state_dict", "model_state_dict", "model")
SAFETENSORS = ".safetensors"  # suffix of files of weights, without a config
MOST_STEPS = 10**12
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # first bytes of files of torch < 1.6, which are no zip


def numbered(folder: Path) -> list[Path]:
    """The files `model-<step>.ckpt` of a folder, sorted by step as a number; empty if there is no such folder."""
    matches = [NAME.fullmatch(path.name) for path in folder.glob("model-*.ckpt") if path.is_file()]
    steps = sorted((int(match[1]), match[0]) for match in matches if match)
    return [folder / name for _, name in steps]


def prune(folder: Path, keep: int) -> None:
    """Delete all but the `keep` intact checkpoints with the highest steps; damaged files are kept and not counted."""
    intact = [path for path in numbered(folder) if zipfile.is_zipfile(path)]
    for path in intact[:-keep]:
        path.unlink(missing_ok=True)


def damage(path: Path) -> str | None:
    """Why a file is no intact checkpoint, or None. Compares checksums and unpickles nothing."""
    if not path.exists():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.ckpt")])
        return "no such file" + (f"; did you mean {path.with_name(near)}?" if near else "")
    if path.is_dir():
        files = numbered(path)
        return "is a folder; name a checkpoint" + (f", such as {files[-1]}" if files else "")
    size = path.stat().st_size
    broken = f"incomplete or not a checkpoint ({size:,} bytes); copy or download it again, or name another"
    if path.suffix == SAFETENSORS:
        return None if size else broken  # its reader checks the rest
    if zipfile.is_zipfile(path):
        return None if _is_intact_archive(path) else broken
    with path.open("rb") as file:
        return None if file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC else broken


def _is_intact_archive(path: Path) -> bool:
    """Whether a zip file was written by `torch.save` and matches its checksums; TorchScript is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
            is_state = "data.pkl" in names and "constants.pkl" not in names  # TorchScript has both, and is a program
            has_checksums = any(member.CRC for member in archive.infolist())  # torch can leave them out
            return is_state and not (has_checksums and archive.testzip())
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, OSError, zlib.error):
        return False


def require(path: Path) -> None:
    """Refuse a file that is missing, damaged or no checkpoint.

    Raises:
        UserError: the file's name and the reason, see `damage`.
    """
    try:
        reason = damage(path)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    if reason is not None:
        raise UserError(f"{path}: {reason}")


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU: tensors and plain containers; no code from the file is executed.

    Raises:
        UserError: missing, a folder, incomplete, not a checkpoint, or with objects of other classes inside.
    """
    path = Path(path)
    require(path)
    if path.suffix == SAFETENSORS:
        return _load_safetensors(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path}: {unreadable(error)}") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}; expected a dict with the weights of a model")
    return state


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: needs the package safetensors, which is missing: pip install safetensors") from error
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: incomplete or no safetensors file ({error}); copy or download it again") from error


def unreadable(error: BaseException) -> str:
    """Why torch did not load a file; its own message advises to switch off the protection against code in it."""
    name = re.search(r"GLOBAL (\S+)", str(error))
    if name is None:
        return "incomplete or not a checkpoint; copy or download it again, or name another"
    return f"holds more than weights and plain values ({name[1]}); expected one saved from model.state_dict()"


def save(source: Any, path: str | Path) -> None:
    """Write a checkpoint atomically: at any time `path` is either the previous file or the complete new one.

    Args:
        source: a dict, or a Lightning Trainer (then call it on every process; the first one writes).
        path: the final name; until the file is complete it is called `<name>.part`.

    Raises:
        UserError: no space, no permission, or an object that could not be loaded again.
    """
    path = Path(path)
    # not `files.atomic_write`: all processes of a distributed run need the same temporary path, and the next
    # save overwrites what a killed process left, where large temporary folders would pile up
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
    """Rename a complete file, after it has been loaded as a check and flushed to the disk."""
    torch.load(part, map_location="cpu", weights_only=True, mmap=True)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn failures of writing into a UserError; out of memory passes through."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: not saved, because it {unreadable(error)}") from error
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not saved, because an object in it cannot be stored ({error})") from error
    except (OSError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        folder = next(parent for parent in path.parents if parent.exists())
        free = shutil.disk_usage(folder).free / 1e6
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{path}: not saved ({reason}); {free:,.0f} MB are free in {folder}") from error


def step_of(state: Mapping[str, Any], path: str | Path) -> int:
    """The number of optimiser steps after which a run resumes from this checkpoint.

    Raises:
        UserError: the checkpoint holds weights alone, without optimiser and step counter; the counter is no count.
    """
    weights = state.get("state_dict")
    if not isinstance(weights, Mapping) or "step" not in weights or not state.keys() >= RESUME_KEYS:
        raise UserError(f"{path}: holds weights alone and cannot be resumed; add -r to start a new training from them")
    return _count(weights["step"], path)


def _count(step: Any, path: str | Path) -> int:
    """A step counter as a number.

    Raises:
        UserError: it is no count of steps, such as NaN or −1.
    """
    number = step.item() if isinstance(step, Tensor) and step.numel() == 1 else step
    if not isinstance(number, int | float) or not 0 <= number <= MOST_STEPS or number % 1:
        raise UserError(f"{path}: its step counter is {str(number)[:50]}; expected a count; use an earlier checkpoint")
    return int(number)


def weights_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by name: under `state_dict`, `model_state_dict` or `model`, or the dict itself."""
    for _ in CONTAINERS:  # each may hold another one; a hostile file holds itself
        inner = [state[name] for name in CONTAINERS if isinstance(state.get(name), Mapping)]
        state = inner[0] if inner else state
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def restore(iterator: nn.Module, path: Path, resume: bool = False) -> dict[str, Any]:
    """Load a checkpoint's weights, its step counter among them, into a training task.

    Args:
        iterator: the task.
        path: of the checkpoint.
        resume: whether a training is to go on from it; it must hold an optimiser then.

    Returns:
        contents of the checkpoint, see `load`.

    Raises:
        UserError: see `load`, `step_of` and `load_weights`.
    """
    state = load(path)
    if resume:
        step_of(state, path)
    elif "step" in (weights := weights_of(state)):
        _count(weights["step"], path)
    load_weights(iterator, state, path)
    return state


def load_weights(module: nn.Module, state: Mapping[str, Any], path: str | Path) -> None:
    """Load a checkpoint's weights into a module, strictly.

    A prefix that wrappers put before every name (`module.`, `model.`) is removed. Weights without the prefix,
    as of other networks next to `model.`, are ignored. If no name is known and the module has a method
    `load_released`, that one loads the weights.

    Args:
        module: receives the weights; all its weights must be in the checkpoint.
        state: contents of the checkpoint, see `load`, or a state dict.
        path: of the checkpoint, for messages.

    Raises:
        UserError: weights are missing, unknown, of another shape or not finite: how many, and the first of them.
    """
    weights, expected = weights_of(state), module.state_dict()
    prefix = max(PREFIXES, key=lambda prefix: sum(prefix + name in weights for name in expected))
    found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    found = {_current_name(name, expected): value for name, value in found.items()}
    load_released = getattr(module, "load_released", None)
    if callable(load_released) and found and found.keys().isdisjoint(expected):
        try:
            load_released(found)
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
    else:
        _load_strictly(module, found, path)
    if broken := not_finite(module):
        raise UserError(f"{path}: {len(broken)} weights are not finite ({first(broken)}); use an earlier checkpoint")


def _current_name(name: str, expected: Mapping[str, Any]) -> str:
    """The name of a weight of `torch.nn.utils.spectral_norm` in today's `parametrizations.spectral_norm`."""
    layer, _, kind = name.rpartition("weight_")
    current = {"orig": "weight.original", "u": "weight.0._u", "v": "weight.0._v"}.get(kind)
    renamed = f"{layer}parametrizations.{current}"
    return renamed if renamed in expected else name


def _load_strictly(module: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        problem = mismatch(weights, module.state_dict()) or str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: does not fit {type(module).__name__}: {problem}") from error
