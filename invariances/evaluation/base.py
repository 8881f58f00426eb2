"""What an evaluation is, and how several of them are run on a model."""

import json
import logging
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from tqdm import tqdm

from invariances.data.unpairing import unpaired
from invariances.utils.files import atomic_write

log = logging.getLogger(__name__)


@runtime_checkable
class Evaluation(Protocol):
    """Numbers and pictures about a model, after each epoch and in `edflow -p`."""

    def __call__(self, iterator: Any, loader: Any, folder: Path) -> dict[str, float]:
        """Measure.

        Args:
            iterator: the training task, its networks in eval mode.
            loader: batches of the validation split, dicts of tensors.
            folder: where pictures and files go.

        Returns:
            name -> number.
        """


def evaluate(
    evaluations: Mapping[str, Evaluation],
    iterator: Any,
    loader: Any,
    folder: Path,
    losses: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Run evaluations and write `folder/metrics.json`.

    An evaluation that fails takes nothing else down: its reason is logged and stands in `metrics.json` under
    `missing`.

    Args:
        evaluations: name -> evaluation.
        iterator, loader, folder: see `Evaluation`.
        losses: numbers of the validation pass, written beside those of the evaluations.

    Returns:
        name -> number, of all evaluations together, losses left out.
    """
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name in (progress := tqdm(evaluations, unit="evaluation", leave=False, disable=None)):
        progress.set_description(name)
        try:
            metrics |= evaluations[name](iterator, loader, folder)
        except Exception as error:  # whatever a metric trips over, the training is worth more
            missing[name] = f"{type(error).__name__}: {error}"
            log.warning("evaluation %s is missing at step %d: %s", name, int(iterator.step), missing[name])
            log.debug("evaluation %s", name, exc_info=error)
    report = {
        "time": datetime.now(timezone.utc).isoformat(),
        "step": int(iterator.step),
        **iterator.facts(),
        "metrics": {**(losses or {}), **metrics},
        "missing": missing,
    }
    with atomic_write(folder / "metrics.json") as part:
        part.write_text(json.dumps(jsonable(report), indent=1, allow_nan=False))
    return metrics


def jsonable(value: Any) -> Any:
    """The value with NaN and infinities, which JSON lacks, as null."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def first_examples(loader: Iterable[dict[str, Tensor]], n: int | None, device: torch.device) -> dict[str, Tensor]:
    """The first `n` examples of a loader (all for None) as one batch on a device; pairs count as two."""
    batches: list[dict[str, Tensor]] = []
    for batch in map(unpaired, loader):
        batches.append(batch)
        if n is not None and sum(len(b["image"]) for b in batches) >= n:
            break
    return {key: torch.cat([b[key] for b in batches])[:n].to(device) for key in batches[0]}
