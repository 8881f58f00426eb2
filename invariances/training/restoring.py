"""Checks of what a resumed training continues with; a checkpoint may be damaged, or a stranger's."""

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim import Optimizer

from invariances.errors import UserError

OF_ITS_SHAPE = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")  # what optimisers keep for each weight


class RestoredState(pl.Callback):
    """Refuse a checkpoint whose optimisers or counters would fail, or spread NaN, at the first step.

    Args:
        checkpoint: from which the training goes on; None for a new one.

    Raises:
        UserError: at the start of the training; names the checkpoint and what does not fit.
    """

    def __init__(self, checkpoint: Path | None) -> None:
        self.checkpoint = checkpoint

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Check all optimisers, and the counters of Lightning's loops."""
        if self.checkpoint is None:
            return
        found = chain(*map(faults, trainer.optimizers), faults_of_counters(trainer.fit_loop.state_dict()))
        if fault := next(found, None):
            raise UserError(
                f"{self.checkpoint}: the state of its training cannot be restored ({fault}); resume from an "
                "earlier checkpoint, or add -r to start a new training from its weights"
            )


def faults(optimizer: Optimizer) -> Iterator[str]:
    """What an optimiser cannot go on with, after its state was loaded.

    >>> import torch
    >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    >>> del optimizer.param_groups[0]["betas"]
    >>> list(faults(optimizer))
    ['betas of the optimiser: None; expected (0.9, 0.999) or the like']
    """
    names = {name for state in optimizer.state.values() if isinstance(state, dict) for name in state}
    for group in optimizer.param_groups:
        for name, default in optimizer.defaults.items():
            if not _is_like(group.get(name), default):
                yield f"{name} of the optimiser: {str(group.get(name))[:60]}; expected {default} or the like"
        for weight in group["params"]:
            state = optimizer.state.get(weight, {})  # none for weights that had no gradient yet
            if not isinstance(state, dict):
                yield f"state of the optimiser: {type(state).__name__}; expected a dict for each weight"
            elif state:
                yield from _faults_of(weight, state, names)


def faults_of_counters(state: Mapping[str, Any]) -> Iterator[str]:
    """What loops cannot go on with, whose state was loaded.

    >>> list(faults_of_counters({"epoch_progress": {"total": {"ready": [1], "started": 1}}, "state_dict": {}}))
    ['epoch_progress of the training: [1]; expected a number']
    """
    for name, value in state.items():
        if name.endswith("progress"):
            wrong = [leaf for leaf in _leaves(value) if not isinstance(leaf, int)]
            yield from (f"{name} of the training: {str(leaf)[:60]}; expected a number" for leaf in wrong)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from chain(*map(_leaves, value.values()))
    else:
        yield value


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        items = zip(value, default, strict=True) if isinstance(value, tuple | list) else ()
        return isinstance(value, tuple | list) and len(value) == len(default) and all(_is_like(*item) for item in items)
    if isinstance(default, float | int | Tensor) and not isinstance(default, bool):
        return _is_number(value)
    return value is None or isinstance(value, bool)  # such as fused, which is None where torch chooses


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and math.isfinite(value)
    return isinstance(value, float | int) and math.isfinite(value)


def _faults_of(weight: Tensor, state: dict[str, Any], names: set[str]) -> Iterator[str]:
    for name in sorted(names, key=str):
        value = state.get(name)
        if name == "step" and not _is_number(value):
            yield f"step of the optimiser: {str(value)[:60]}; expected a number"
        if name not in OF_ITS_SHAPE or (name == "momentum_buffer" and value is None):  # before the second step
            continue
        if not isinstance(value, Tensor) or value.shape != weight.shape:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            yield f"{name} of the optimiser: {found}; expected a tensor of shape {tuple(weight.shape)}"
        elif not value.isfinite().all():
            yield f"{name} of the optimiser holds values that are not finite"
