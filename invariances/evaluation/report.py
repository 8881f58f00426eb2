"""One page that shows, layer by layer, what a network keeps of its input and what it drops."""

import base64
import csv
import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure
from numpy.typing import NDArray

from invariances.errors import UserError
from invariances.evaluation.factor_chapter import factor_chapter

COLUMNS = (
    "layer",
    "nll",
    "class_agreement",
    "hue_agreement",
    "cosine",
    "cosine_random",
    "cosine_nearest",
    "cosine_autoencoder",
    "relative_l2",
    "diversity",
)

LEGEND = {
    "class_agreement": "Part of the samples that the network gives the class it gives their input. "
    "1: the class is kept.",
    "hue_agreement": "Cosine of the angle between the colour of a sample and that of its input. "
    "1: the colour is kept; 0: it is drawn anew, so the layer has forgotten it.",
    "cosine": "Similarity between the layer's responses to a sample and to its input. They should be the same, so high "
    "is right. The references tell what is high: the autoencoder's reconstruction of the input (the best a sample can "
    "do), the most similar other real image (nearest), and any other image (random).",
    "relative_l2": "Distance between the layer's responses to a sample and to its input, over the length of the "
    "response. 0: equal.",
    "diversity": "How much the samples of one input vary, over how much the data vary. "
    "0: all are the same; 1: as varied as the data.",
    "nll": "Negative log-likelihood of the held-out codes given the layer, in nats, without its constant. "
    "The higher, the less the layer tells about the image.",
}


@dataclass(frozen=True)
class Layer:
    """One evaluated run: the layer it looks at, its numbers and its pictures."""

    name: str
    depth: int
    folder: Path
    metrics: dict[str, float | None]
    views: dict[str, NDArray[np.uint8]]  # label -> (B, C, H, W)


def write_report(runs: list[Path], folder: Path) -> Path:
    """Write `report.html`, its figures and `ladder.csv`.

    Args:
        runs: run folders of conditional INNs, one per layer, in any order, and of disentangling INNs.
        folder: where the files go.

    Returns:
        path of the page, which needs no other file.

    Raises:
        UserError: a run has not been evaluated, or is of another kind.
    """
    evaluated = [(run, _newest_evaluation(run)) for run in runs]
    layers = sorted(
        (_layer(facts) for _, facts in evaluated if "layer" in facts), key=lambda layer: layer.depth
    )
    folder.mkdir(parents=True, exist_ok=True)
    chapters = [factor_chapter(run, facts, folder) for run, facts in evaluated if "factors" in facts]
    plot = None
    if layers:
        _write_table(folder / "ladder.csv", layers)
        plot = _save(_ladder(layers), folder / "ladder.png")
    rows = [
        {"layer": layer, "picture": _save(_samples(layer), folder / f"layer-{number}-{layer.name}.png")}
        for number, layer in enumerate(layers, start=1)
    ]
    environment = Environment(loader=PackageLoader("invariances.evaluation", ""), autoescape=select_autoescape())
    environment.filters["number"] = _number
    page = environment.get_template("report.html").render(
        rows=rows, plot=plot, columns=_measured(layers), legend=LEGEND, layers=layers, chapters=chapters
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _newest_evaluation(run: Path) -> dict[str, Any]:
    """What the newest evaluation that the report can use has found, and its folder."""
    found = [json.loads(path.read_text()) | {"folder": path.parent} for path in run.glob("**/metrics.json")]
    found = [
        facts
        for facts in found
        if "factors" in facts or ("layer" in facts and (facts["folder"] / "grid.npz").exists())
    ]
    if not found:
        raise UserError(
            f"{run}: no evaluation of a layer or of factors found; a report needs runs of a conditional INN with the "
            f"evaluations faithfulness and grid, or of a disentangling INN: edflow -p {run}"
        )
    return max(found, key=lambda facts: facts["time"])


def _layer(facts: dict[str, Any]) -> Layer:
    with np.load(facts["folder"] / "grid.npz", allow_pickle=False) as views:
        return Layer(facts["layer"], facts["depth"], facts["folder"], facts["metrics"], dict(views))


def _write_table(path: Path, layers: list[Layer]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for layer in layers:
            table.writerow([layer.name, *(_number(layer.metrics.get(column)) for column in COLUMNS[1:])])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"


def _measured(layers: list[Layer]) -> list[str]:
    """Columns that have a number in some layer."""
    return [c for c in COLUMNS[1:] if any(layer.metrics.get(c) is not None for layer in layers)]


def _save(figure: Figure, path: Path) -> str:
    """Save a figure as PNG, and return it as a data URL for the page."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    path.write_bytes(buffer.getvalue())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _ladder(layers: list[Layer]) -> Figure:
    """Three panels over the depth: what samples keep of their input, how faithful and how varied they are."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    kept, similarity, dropped = figure.subplots(1, 3)
    _lines(kept, layers, {"class_agreement": ("class", "C0-o"), "hue_agreement": ("colour", "C3-o")})
    kept.set_title("Kept: samples share …", fontsize=10)
    cosines = {
        "cosine_autoencoder": ("reconstruction (ceiling)", "C7--"),
        "cosine": ("samples", "C2-o"),
        "cosine_nearest": ("nearest real image", "C7-."),
        "cosine_random": ("random image", "C7:"),
    }
    _lines(similarity, layers, cosines)
    similarity.set_title("Check: cosine of the responses", fontsize=10)
    _lines(dropped, layers, {"diversity": ("diversity of samples", "C1-o")})
    dropped.set_title("Dropped: variance left open", fontsize=10)
    return figure


def _lines(axis: Any, layers: list[Layer], series: dict[str, tuple[str, str]]) -> None:
    """Draw one line per metric over the layers."""
    names = [layer.name for layer in layers]
    for metric, (label, style) in series.items():
        values = [layer.metrics.get(metric) for layer in layers]
        if any(value is not None for value in values):
            axis.plot(range(len(names)), [np.nan if v is None else v for v in values], style, label=label)
    axis.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axis.set_ylim(min(-0.05, axis.get_ylim()[0]), max(1.05, axis.get_ylim()[1]))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, loc="best")


def _samples(layer: Layer, n_images: int = 4) -> Figure:
    """Inputs and their samples: two inputs side by side in each row, a gap behind each input."""
    labels = list(layer.views)
    shown = min(n_images, len(layer.views[labels[0]]))
    n_columns = len(labels) + 1  # a narrow gap sets the input apart
    height, width = layer.views[labels[0]].shape[2:]
    figure = Figure(figsize=(0.95 * n_columns, 0.95 * shown * height / width + 0.3), layout="constrained")
    ratios = [1, 1, 0.25, *[1] * (len(labels) - 2)]
    axes = figure.subplots(shown, n_columns, squeeze=False, gridspec_kw={"width_ratios": ratios})
    for axis in axes.flat:
        axis.set_axis_off()
    for place, label in zip((i for i in range(n_columns) if i != 2), labels, strict=True):
        axes[0, place].set_title(label, fontsize=8)
        for row in range(shown):
            pixels = layer.views[label][row].transpose(1, 2, 0)
            axes[row, place].imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return figure
