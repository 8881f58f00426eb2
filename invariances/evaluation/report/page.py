"""One page that shows, layer by layer, what a network keeps of its input and what it drops."""

import base64
import csv
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, Template, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from invariances.errors import UserError
from invariances.evaluation.metrics.fid.reference import DAMAGED
from invariances.evaluation.report import plots
from invariances.evaluation.report.factors import factor_chapter
from invariances.evaluation.report.tables import LADDER, LEGEND, SECTIONS, further

log = logging.getLogger(__name__)

FILES = ("ladder.png", "checks.png", "layer-[0-9]*-*.png", "ladder.csv", "faithfulness.csv")


@dataclass(frozen=True)
class EvaluatedLayer:
    """One evaluated run: the layer it looks at, its numbers and its pictures."""

    name: str
    depth: int
    folder: Path
    metrics: dict[str, float | None]
    views: dict[str, NDArray[np.uint8]]  # label -> (B, C, H, W)


def write_report(runs: list[Path], folder: Path) -> Path:
    """Write `report.html`, its figures, and of layers `ladder.csv` and `faithfulness.csv`.

    Args:
        runs: run folders of conditional INNs, one per layer, in any order, and of disentangling INNs.
        folder: where the files go.

    Returns:
        path of the page, which needs no other file.

    Raises:
        UserError: a run has not been evaluated, or is of another kind; the folder cannot be written.
    """
    evaluated = [(run, _newest_evaluation(run)) for run in runs]
    layers = sorted((facts["layer"] for _, facts in evaluated if "layer" in facts), key=lambda layer: layer.depth)
    path = folder / "report.html"
    with _writing(folder):
        if path.exists():
            _delete_earlier(folder)
        chapters = [factor_chapter(run, facts, folder) for run, facts in evaluated if "factors" in facts]
        page = _template().render(chapters=chapters, **(_ladder(layers, folder) if layers else {}))
        path.write_text(page, encoding="utf-8")
    return path


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make the folder of a report; a UserError where that or writing to it fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written there ({error}); name another folder: -o") from error


def _delete_earlier(folder: Path) -> None:
    """Delete the files of an earlier report, some of which would stay beside those of the new one."""
    for pattern in FILES:
        for path in folder.glob(pattern):
            path.unlink()


def can_report(folder: Path) -> bool:
    """Whether the report can use what an evaluation has written to a folder."""
    return _usable(_facts(folder))


def _usable(facts: dict[str, Any]) -> bool:
    return "factors" in facts or ("layer" in facts and (facts["folder"] / "grid.npz").exists())


def _newest_evaluation(run: Path) -> dict[str, Any]:
    """What the newest evaluation that the report can use has found, its folder, and its layer if it is of one."""
    found = []
    for path in run.glob("**/metrics.json"):
        with _left_out_if_damaged(path.parent):
            found.append(_facts(path.parent))
    for facts in sorted(filter(_usable, found), key=lambda facts: facts["time"], reverse=True):
        with _left_out_if_damaged(facts["folder"]):
            return facts | ({"layer": _layer(facts)} if "layer" in facts else {})
    raise UserError(
        f"{run}: no evaluation of a layer or of factors found; a report needs runs of a conditional INN with the "
        f"evaluations faithfulness and grid, or of a disentangling INN: edflow -p {run}"
    )


@contextmanager
def _left_out_if_damaged(folder: Path) -> Iterator[None]:
    """Go on without an evaluation that cannot be read, with a warning."""
    try:
        yield
    except DAMAGED as error:
        log.warning("%s: this evaluation is damaged and left out (%s)", folder, error)


def _facts(folder: Path) -> dict[str, Any]:
    """What `metrics.json` holds, and the folder where it lies.

    Raises:
        ValueError: it is damaged, or lacks something.
    """
    facts = json.loads((folder / "metrics.json").read_text())
    if not isinstance(facts, dict):
        raise ValueError(f"metrics.json holds a {type(facts).__name__}; expected a mapping")
    kinds = {"time": str, "metrics": dict} | ({"layer": str, "depth": int} if "layer" in facts else {})
    for name, kind in (kinds | ({"factors": dict} if "factors" in facts else {})).items():
        if not isinstance(facts.get(name), kind):
            raise ValueError(f"metrics.json has {facts.get(name)!r} for {name}; expected a {kind.__name__}")
    return facts | {"folder": folder}


def _layer(facts: dict[str, Any]) -> EvaluatedLayer:
    with np.load(facts["folder"] / "grid.npz", allow_pickle=False) as file:
        views = dict(file)
    if not views or any(view.dtype != np.uint8 or view.ndim != 4 for view in views.values()):
        raise ValueError("grid.npz holds no pictures")
    return EvaluatedLayer(facts["layer"], facts["depth"], facts["folder"], facts["metrics"], views)


def _ladder(layers: list[EvaluatedLayer], folder: Path) -> dict[str, Any]:
    """Write tables and figures of the layers; returns what the page shows of them."""
    measured = list(dict.fromkeys(name for layer in layers for name in layer.metrics))
    rest = [name for name in measured if name not in LADDER and not name.startswith("validation/")]
    _write_table(folder / "ladder.csv", layers, LADDER[1:])
    _write_table(folder / "faithfulness.csv", layers, rest)
    metrics = [(layer.name, layer.metrics) for layer in layers]
    sections = [section.of(measured) for section in (*SECTIONS, further(measured))]
    return {
        "layers": layers,
        "columns": [name for name in LADDER[1:] if name in measured],
        "legend": LEGEND,
        "sections": [section for section in sections if section.groups],
        "plots": [
            _save(plots.along_the_depth(panels, metrics), folder / f"{name}.png")
            for name, panels in {"ladder": plots.LADDER, "checks": plots.CHECKS}.items()
        ],
        "pictures": [
            _save(plots.samples(layer.views), folder / f"layer-{number}-{_file_name(layer.name)}.png")
            for number, layer in enumerate(layers, start=1)
        ],
    }


def _template() -> Template:
    environment = Environment(loader=PackageLoader("invariances.evaluation.report", ""), autoescape=select_autoescape())
    environment.filters |= {"number": _number, "cell": _cell}
    return environment.get_template("page.html")


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name)


def _write_table(path: Path, layers: list[EvaluatedLayer], columns: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["layer", *columns])
        for layer in layers:
            table.writerow([layer.name, *(_number(layer.metrics.get(column)) for column in columns)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) >= 10 else f"{round(value, 3) + 0:.3f}"  # no −0


def _cell(metrics: dict[str, float | None], name: str) -> Markup:
    """A number, and behind it half its 95 % interval."""
    value, half_width = metrics.get(name), metrics.get(f"{name}_ci")
    interval = Markup("<small>± {}</small>").format(_number(half_width)) if value is not None and half_width else ""
    return Markup("{}{}").format(_number(value), interval)


def _save(figure: Figure, path: Path) -> str:
    """Save a figure as PNG, and return it as a data URL for the page."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    path.write_bytes(buffer.getvalue())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
