"""Evaluations as they are stored in folders of runs: `metrics.json` and pictures."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invariances.errors import UserError
from invariances.evaluation.metrics.fid.reference import DAMAGED
from invariances.evaluation.report.others import built_in
from invariances.utils.files import read_bytes, require_own_files, require_unpacked_size

log = logging.getLogger(__name__)

MOST_BYTES = 10**9  # of the pictures of one evaluation

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
        cautions: what a reader has to know about the frozen networks, such as random weights.
        n_trainings: whose mean the numbers are; see `trainings.mean_over`.
    """

    folder: Path
    time: str
    metrics: Metrics
    legend: dict[str, str]
    layer: str | None = None
    depth: int = 0
    factors: dict[str, int] | None = None
    cautions: Sequence[str] = ()
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
        path = self.folder / "grid.npz"
        require_unpacked_size(path, MOST_BYTES)
        with np.load(path, allow_pickle=False) as file:
            views = {name: np.asarray(view) for name, view in file.items()}
        shapes = {view.shape for view in views.values() if view.dtype == np.uint8 and view.ndim == 4}
        if len(views) < 1 or len(shapes) != 1 or any(view.shape not in shapes for view in views.values()):
            raise ValueError("grid.npz holds no pictures of one shape; expected bytes (B, C, H, W)")
        shape = shapes.pop()
        if shape[1] not in (1, 3) or 0 in shape:
            raise ValueError(f"grid.npz holds pictures of shape {shape}; expected (B, 1 or 3, H, W)")
        return views


def read(folder: Path) -> StoredEvaluation:
    """Read `metrics.json`.

    Raises:
        ValueError: it is damaged, or an entry is missing; a link in the folder leads out of it, to what no report
            should show.
    """
    require_own_files(folder)
    facts = json.loads(read_bytes(folder / "metrics.json", MOST_BYTES))
    if not isinstance(facts, dict):
        raise ValueError(f"metrics.json holds a {type(facts).__name__}; expected a mapping")
    kinds: dict[str, type] = {"time": str, "metrics": dict}
    kinds |= {"layer": str, "depth": int} if "layer" in facts else {}
    kinds |= {name: dict for name in ("factors", "legend") if name in facts}
    kinds |= {"cautions": list} if "cautions" in facts else {}
    for name, kind in kinds.items():
        if not isinstance(facts.get(name), kind):
            raise ValueError(f"metrics.json has {facts.get(name)!r} for {name}; expected a {kind.__name__}")
    facts["metrics"] = {name: _number(name, value) for name, value in facts["metrics"].items()}
    texts = [facts.get("layer", ""), *facts["metrics"], *facts.get("factors", ()), *facts.get("legend", {}).values()]
    for text in [*texts, *facts.get("cautions", ())]:
        _require_text(text)
    if any(type(size) is not int or "/" in name for name, size in facts.get("factors", {}).items()):
        raise ValueError(f"metrics.json has {facts['factors']!r} for factors; expected names and sizes")
    return StoredEvaluation(folder, **({"legend": built_in(facts["metrics"])} | {name: facts[name] for name in kinds}))


def _number(name: str, value: object) -> float | None:
    """A number of `metrics.json`; None if it is not finite."""
    if value is not None and type(value) not in (int, float, bool):
        raise ValueError(f"metrics.json has {value!r} for {name}; expected a number")
    try:
        number = math.nan if value is None else float(str(value))
    except ValueError:  # true, false
        number = float(value is True)
    return number if math.isfinite(number) else None


def _require_text(text: object) -> None:
    """Refuse what cannot stand on a page: no text, or halves of characters that UTF-8 lacks."""
    if not isinstance(text, str):
        raise ValueError(f"metrics.json has {text!r} where text is expected")
    text.encode()


def newest_first(run: Path) -> list[StoredEvaluation]:
    """The evaluations in a folder; damaged ones are left out with a warning."""
    found = []
    for path in run.glob("**/metrics.json"):
        with _left_out_if_damaged(path.parent):
            found.append(read(path.parent))
    return sorted(found, key=lambda each: each.time, reverse=True)


def newest(run: Path) -> tuple[StoredEvaluation, Mapping[str, NDArray[np.uint8]]]:
    """The newest evaluation of a run that a report can use, and its pictures if it is of a layer.

    Raises:
        UserError: there is none.
    """
    for stored in filter(lambda each: each.usable, newest_first(run)):
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
