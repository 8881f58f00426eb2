"""One page that shows, layer by layer, what a network keeps of its input and what it drops."""

import base64
import csv
import json
from collections.abc import Sequence
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
from invariances.evaluation import plots
from invariances.evaluation.factor_chapter import factor_chapter
from invariances.evaluation.measures import LADDER, LEGEND, SECTIONS, further


@dataclass(frozen=True)
class Layer:
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
        UserError: a run has not been evaluated, or is of another kind.
    """
    evaluated = [(run, _newest_evaluation(run)) for run in runs]
    layers = sorted((_layer(facts) for _, facts in evaluated if "layer" in facts), key=lambda layer: layer.depth)
    folder.mkdir(parents=True, exist_ok=True)
    chapters = [factor_chapter(run, facts, folder) for run, facts in evaluated if "factors" in facts]
    page = _template().render(chapters=chapters, **(_ladder(layers, folder) if layers else {}))
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def can_report(folder: Path) -> bool:
    """Whether the report can use what an evaluation has written to a folder."""
    facts = json.loads((folder / "metrics.json").read_text())
    return "factors" in facts or ("layer" in facts and (folder / "grid.npz").exists())


def _newest_evaluation(run: Path) -> dict[str, Any]:
    """What the newest evaluation that the report can use has found, and its folder."""
    folders = [path.parent for path in run.glob("**/metrics.json") if can_report(path.parent)]
    found = [json.loads((each / "metrics.json").read_text()) | {"folder": each} for each in folders]
    if not found:
        raise UserError(
            f"{run}: no evaluation of a layer or of factors found; a report needs runs of a conditional INN with the "
            f"evaluations faithfulness and grid, or of a disentangling INN: edflow -p {run}"
        )
    return max(found, key=lambda facts: facts["time"])


def _layer(facts: dict[str, Any]) -> Layer:
    with np.load(facts["folder"] / "grid.npz", allow_pickle=False) as views:
        return Layer(facts["layer"], facts["depth"], facts["folder"], facts["metrics"], dict(views))


def _ladder(layers: list[Layer], folder: Path) -> dict[str, Any]:
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
            _save(plots.samples(layer.views), folder / f"layer-{number}-{layer.name}.png")
            for number, layer in enumerate(layers, start=1)
        ],
    }


def _template() -> Template:
    environment = Environment(loader=PackageLoader("invariances.evaluation", ""), autoescape=select_autoescape())
    environment.filters |= {"number": _number, "cell": _cell}
    return environment.get_template("report.html")


def _write_table(path: Path, layers: list[Layer], columns: Sequence[str]) -> None:
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
