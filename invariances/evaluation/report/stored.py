"""Evaluations as they are stored in folders of runs: `metrics.json` and pictures."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invariances.errors import UserError
from invariances.evaluation.metrics.fid.reference import DAMAGED
from invariances.evaluation.report.others import built_in

log = logging.getLogger(__name__)

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class StoredEvaluation:
    """The contents of a `metrics.json`.

    Attributes:
        folder: of the file.
        time: in ISO format, UTC.
        metrics: name -> number; None where it is not finite.
        legend: name -> how to read the number.
        layer, depth: name and index of the layer, of a conditional INN.
        factors: name -> size, of a disentangling INN.
        n_trainings: whose mean the numbers are; see `trainings.mean_over`.
    """

    folder: Path
    time: str
    metrics: Metrics
    legend: dict[str, str]
    layer: str | None = None
    depth: int = 0
    factors: dict[str, int] | None = None
    n_trainings: int = 1

    @property
    def usable(self) -> bool:
        """Whether a report can use it."""
        return self.factors is not None or (self.layer is not None and (self.folder / "grid.npz").exists())

    def views(self) -> dict[str, NDArray[np.uint8]]:
        """The pictures of `grid.npz`: label -> (B, C, H, W).

        Raises:
            ValueError: the file holds something else.
        """
        with np.load(self.folder / "grid.npz", allow_pickle=False) as file:
            views = dict(file)
        if not views or any(view.dtype != np.uint8 or view.ndim != 4 for view in views.values()):
            raise ValueError("grid.npz holds no pictures; expected bytes (B, C, H, W)")
        return views


def read(folder: Path) -> StoredEvaluation:
    """Read `metrics.json`.

    Raises:
        ValueError: it is damaged, or an entry is missing.
    """
    facts = json.loads((folder / "metrics.json").read_text())
    if not isinstance(facts, dict):
        raise ValueError(f"metrics.json holds a {type(facts).__name__}; expected a mapping")
    kinds: dict[str, type] = {"time": str, "metrics": dict}
    kinds |= {"layer": str, "depth": int} if "layer" in facts else {}
    kinds |= {name: dict for name in ("factors", "legend") if name in facts}
    for name, kind in kinds.items():
        if not isinstance(facts.get(name), kind):
            raise ValueError(f"metrics.json has {facts.get(name)!r} for {name}; expected a {kind.__name__}")
    return StoredEvaluation(folder, **({"legend": built_in(facts["metrics"])} | {name: facts[name] for name in kinds}))


def newest(run: Path) -> tuple[StoredEvaluation, Mapping[str, NDArray[np.uint8]]]:
    """The newest evaluation of a run that a report can use, and its pictures if it is of a layer.

    Raises:
        UserError: there is none.
    """
    found = []
    for path in run.glob("**/metrics.json"):
        with _left_out_if_damaged(path.parent):
            found.append(read(path.parent))
    for stored in sorted((each for each in found if each.usable), key=lambda each: each.time, reverse=True):
        with _left_out_if_damaged(stored.folder):
            return stored, {} if stored.layer is None else stored.views()
    raise UserError(
        f"{run}: no evaluation of a layer or of factors found; a report needs runs of a conditional INN with the "
        f"evaluations faithfulness and grid, or of a disentangling INN: edflow -p {run}"
    )


@contextmanager
def _left_out_if_damaged(folder: Path) -> Iterator[None]:
    """Skip an evaluation that cannot be read, with a warning."""
    try:
        yield
    except DAMAGED as error:
        log.warning("%s: this evaluation is damaged and left out (%s)", folder, error)
