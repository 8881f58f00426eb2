"""Checkpoint files: written atomically, read without executing code from the file, loaded strictly.

A checkpoint is a Lightning checkpoint, `state_dict` with the trained model under `model.`, that also holds
the resolved config of its run under `config`. It consists of tensors, numbers, text, lists and dicts. The folder of a
model, see `model_folder`, and files of safetensors can stand in its place, for weights alone.
"""

import logging
import os
import pickle
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invariances.errors import UserError
from invariances.utils import model_folder
from invariances.utils.files import free_space
from invariances.utils.memory import is_out_of_memory
from invariances.utils.names import nearest
from invariances.utils.weights import first, mismatch, not_finite

log = logging.getLogger(__name__)

NAME = re.compile(r"model-(\d+)\.ckpt")
PREFIXES = ("", "model.", "module.", "model.module.", "module.model.", "_orig_mod.", "model._orig_mod.")
RESUME_KEYS = {"optimizer_states", "loops", "pytorch-lightning_version"}  # needed to resume, besides the weights
CONTAINERS = ("state_dict", "model_state_dict", "model")
SOURCES = "give the checkpoint of a run, latest:EXPERIMENT, or a released one (invariances zoo ls lists them)"
MOST_STEPS = 10**12
MOST_NESTED = 100  # containers in one another
MOST_REPEATED = 10**8  # bytes of values that a tensor may repeat, as one does that was expanded
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
        return "no such file" + (f"; did you mean {path.with_name(near)}?" if near else f"; {SOURCES}")
    if path.suffix == model_folder.SUFFIX or model_folder.is_one(path):
        return None  # told when they are read
    if path.is_dir():
        files = numbered(path)
        return "is a folder; name a checkpoint" + (f", such as {files[-1]}" if files else "")
    if not path.is_file():
        return "is no regular file; name a checkpoint"
    size = path.stat().st_size
    broken = f"incomplete or not a checkpoint ({size:,} bytes); copy or download it again, or name another"
    if zipfile.is_zipfile(path):
        return None if _is_intact_archive(path) else broken
    with path.open("rb") as file:
        return None if file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC else broken


def _is_intact_archive(path: Path) -> bool:
    """Whether a zip file was written by `torch.save` and matches its checksums; TorchScript is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
            # torch stores without compression; a file that unpacks to much more than it has is hostile
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                return False
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
    if model_folder.is_one(path):
        return _load_model_folder(path)
    if path.suffix == model_folder.SUFFIX:
        return {"state_dict": model_folder.read_weights(path)}
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path}: {unreadable(error)}") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}; expected a dict with the weights of a model")
    if others := [name for name in state if not isinstance(name, str)]:
        raise UserError(f"{path}: holds {str(others[0])[:60]} as a name; expected a dict of weights by their names")
    if fault := next(_oddities(state), None):
        raise UserError(f"{path}: {fault}; expected plain tensors and values")
    return state


def _oddities(value: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """What would end later work in other errors: endless nesting, tensors without values, or with more than stored."""
    if depth > MOST_NESTED:
        yield f"nests more than {MOST_NESTED} containers, first in {key[:60]}"
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, item in items:
        yield from _oddities(item, key or str(name), depth + 1)
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            yield f"{key} holds a tensor that is sparse, quantised or without values"
        elif value.numel() * value.itemsize > value.untyped_storage().nbytes() + MOST_REPEATED:
            yield f"{key} holds a tensor of shape {tuple(value.shape)}, of more values than are stored"


def _load_model_folder(folder: Path) -> dict[str, Any]:
    facts = model_folder.read_facts(folder)
    return {**load(folder / facts.weights), "config": facts.config, "networks": facts.networks}


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
    write_part(source, Path(path))
    if getattr(source, "is_global_zero", True):
        publish(Path(path))


def write_part(source: Any, path: Path) -> None:
    """Write a checkpoint to `<name>.part`, which `publish` renames; see `save`."""
    # not `files.atomic_write`: all processes of a distributed run need the same temporary path, and the next
    # save overwrites what a killed process left, where large temporary folders would pile up
    part = _part(path)
    with _explained(path), _removed_on_failure(part, getattr(source, "is_global_zero", True)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Mapping):
            torch.save(source, part)
        else:
            source.save_checkpoint(part)


def publish(path: Path) -> None:
    """Rename `<name>.part`, after it has been loaded as a check and flushed to the disk; see `save`."""
    part = _part(path)
    with _explained(path), _removed_on_failure(part):
        torch.load(part, map_location="cpu", weights_only=True, mmap=True)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)


def copy(source: Path, path: Path) -> None:
    """Copy a checkpoint, atomically as `save` does."""
    part = _part(path)
    with _explained(path), _removed_on_failure(part):
        shutil.copyfile(source, part)
    publish(path)


def remove_parts(folder: Path) -> None:
    """Delete what processes that were killed while saving have left."""
    for part in folder.glob("*.ckpt.part"):
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


@contextmanager
def _removed_on_failure(part: Path, ours: bool = True) -> Iterator[None]:
    """Remove an incomplete file if the block fails, where this process is the one that writes it."""
    try:
        yield
    except BaseException:
        if ours:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise


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
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{path}: not saved ({reason}); {free_space(path)}") from error


def step_of(state: Mapping[str, Any], path: str | Path) -> int:
    """The number of optimiser steps after which a run resumes from this checkpoint.

    Raises:
        UserError: the checkpoint holds weights alone, without optimiser and step counter; the counter is no count; a
            weight is no tensor, or the optimiser's state is empty.
    """
    weights = state.get("state_dict")
    if not isinstance(weights, Mapping) or "step" not in weights or not state.keys() >= RESUME_KEYS:
        raise UserError(f"{path}: holds weights alone and cannot be resumed; add -r to start a new training from them")
    step = _count(weights["step"], path)
    if not state["optimizer_states"]:
        raise UserError(f"{path}: has lost the state of its optimiser; use an earlier checkpoint, or add -r")
    if others := [name for name, value in weights.items() if not isinstance(value, Tensor)]:
        kind = type(weights[others[0]]).__name__
        raise UserError(f"{path}: {others[0]} is of type {kind}; expected a tensor; use an earlier checkpoint")
    return step


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
    return {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}


def restore(iterator: nn.Module, path: Path, resume: bool = False) -> dict[str, Any]:
    """Load a checkpoint's weights, its step counter among them, into a training task.

    A file of the model's weights alone, in any form that `load_weights` knows, leaves the step counter as it is.

    Args:
        iterator: the task.
        path: of the checkpoint.
        resume: whether a training is to go on from it; it must hold an optimiser then.

    Returns:
        contents of the checkpoint, see `load`.

    Raises:
        UserError: see `load`, `step_of` and `load_weights`; weights of a further trained network are missing.
    """
    state = load(path)
    if resume:
        step_of(state, path)
    weights = _unwrapped(weights_of(state))
    if not resume and "step" in weights:
        _count(weights["step"], path)
    if "step" in iterator.state_dict() and "step" not in weights:
        _load_model_alone(iterator, state, path)
    else:
        load_weights(iterator, state, path)
    return state


def _load_model_alone(iterator: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load a file of a model's weights into a training task, and those of its loss if the file has them."""
    others = {name.partition(".")[0] for name, _ in iterator.named_parameters()} - {"model", "loss"}
    if others:
        raise UserError(
            f"{path}: holds the weights of the model alone, and not those of the {', '.join(sorted(others))}; "
            "expected a checkpoint of a run, or a config without it"
        )
    load_weights(iterator.get_submodule("model"), state, path)
    if isinstance(state.get("loss"), Mapping) and "loss" in dict(iterator.named_children()):
        _load_loss(iterator.get_submodule("loss"), weights_of(state["loss"]), path)


def _load_loss(loss: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load the weights of a loss; those of a perceptual network, which are not trained, are left out."""
    expected = loss.state_dict()
    found = {name: weights[name] for name in expected if name in weights}
    if problem := mismatch(found, expected):
        log.warning("%s: its loss starts anew: %s", path, problem)
    else:
        loss.load_state_dict(found)


def load_weights(module: nn.Module, state: Mapping[str, Any], path: str | Path) -> None:
    """Load a checkpoint's weights into a module, strictly.

    A prefix that wrappers put before every name (`module.`, `model.`) is removed. Weights without the prefix,
    as of other networks next to `model.`, are ignored. If names are missing and the module has a method
    `load_released`, that one is tried.

    Args:
        module: receives the weights; all its weights must be in the checkpoint.
        state: contents of the checkpoint, see `load`, or a state dict.
        path: of the checkpoint, for messages.

    Raises:
        UserError: weights are missing, unknown, of another shape or not finite: how many, and the first of them.
    """
    weights, expected = weights_of(state), module.state_dict()
    found = {_current_name(name, expected): value for name, value in without_prefix(weights, expected).items()}
    if not _load_released(module, weights, n_known=len(found.keys() & expected.keys()), path=path):
        _load_strictly(module, found, path)
    if broken := not_finite(module):
        raise UserError(f"{path}: {len(broken)} weights are not finite ({first(broken)}); use an earlier checkpoint")


def without_prefix(weights: Mapping[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """The weights under the prefix, of `PREFIXES`, under which most of the expected names are found, without it.

    >>> list(without_prefix({"module.a": torch.zeros(1)}, ["a"]))
    ['a']
    """
    expected = list(expected)
    prefix = max(PREFIXES, key=lambda prefix: sum(prefix + name in weights for name in expected))
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _load_released(module: nn.Module, weights: Mapping[str, Tensor], n_known: int, path: str | Path) -> bool:
    """Load weights by a module's `load_released`, if it has one and the names are not its own.

    Some names may be the same in both forms.

    Args:
        n_known: number of weights that have the module's own names.

    Returns:
        whether they are loaded. False if they are neither in that form nor less than half in the module's own.
    """
    load_released, n_expected = getattr(module, "load_released", None), len(module.state_dict())
    if not callable(load_released) or not weights or n_known == n_expected:
        return False
    try:
        load_released(_unwrapped(weights))
    except ValueError as error:
        if 2 * n_known >= n_expected:
            return False
        raise UserError(f"{path}: {error}") from error
    return True


def _unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the longest prefix of wrappers that all names have."""
    prefix = max((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in weights)), key=len)
    return {name.removeprefix(prefix): value for name, value in weights.items()}


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
