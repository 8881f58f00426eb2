"""Attributes in the report: the map of layers × attributes, and the table below it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from invariances.evaluation.metrics.attributes.attributes import LEGEND
from invariances.evaluation.metrics.attributes.image_statistics import STATISTICS
from invariances.evaluation.metrics.estimate import INTERVAL
from invariances.evaluation.report.tables import Group, Section

PREFIX = "attribute_"
SHOWN, CEILING = "_measured", "_autoencoder"  # ends of the names of the numbers in the map, which compare
ENDS = {  # end of a name in `metrics.json` -> head of its column
    SHOWN: "measured",
    CEILING: "reconstruction",
    "": "the flow's claim",
    "_probe": "linear probe",
    "_shuffled": "other images",
}
LABEL = (
    "A label of the data set, or of a table, as a linear regression on the codes predicts it: that may find less of it "
    "than the network under study does"
)
MIN_CEILING = 0.5  # share of an attribute that reconstructions must keep for a layer to be judged by it

Metrics = Mapping[str, float | None]


def attribute_names(measured: Iterable[str]) -> list[str]:
    """The attributes among the names of numbers, in their order.

    >>> attribute_names(["cosine", "attribute_hue", "attribute_hue_probe", "attribute_hue_ci"])
    ['hue']
    """
    ends = (*(end for end in ENDS if end), *INTERVAL)
    found = [name.removeprefix(PREFIX) for name in measured if name.startswith(PREFIX) and not name.endswith(ends)]
    return list(dict.fromkeys(found))


def attribute_section(measured: Iterable[str]) -> Section:
    """The table of the attributes."""
    groups = (
        Group(name.replace("_", " "), _definition(name), {head: f"{PREFIX}{name}{end}" for end, head in ENDS.items()})
        for name in attribute_names(measured)
    )
    heads = {head: LEGEND[f"{PREFIX}*{end}"] for end, head in ENDS.items()}
    return Section("Which attributes does the layer keep?", "", tuple(groups), heads)


def _definition(name: str) -> str:
    statistic = STATISTICS.get(name)
    text = (statistic.__doc__ or "").splitlines()[0] if statistic else LABEL
    return text.replace("; see `_moments`", "").split(", see `")[0].rstrip(".") + "."


def attribute_map(layers: Sequence[tuple[str, Metrics]]) -> Figure:
    """Layers in rows, attributes in columns: the part of each attribute's variance that each layer is shown to keep.

    The last row is the same of the autoencoder. An attribute that it loses is grey.

    Args:
        layers: name and numbers of each, in the order of depth.
    """
    names = attribute_names(name for _, metrics in layers for name in metrics)
    ceilings = _values([metrics for _, metrics in layers], names, CEILING)
    ceiling = np.ma.masked_invalid(ceilings).mean(axis=0).filled(np.nan)
    values = np.vstack([_values([metrics for _, metrics in layers], names, SHOWN), ceiling])
    figure = Figure(figsize=(1.6 + 0.85 * len(names), 1.3 + 0.45 * len(values)), layout="constrained")
    axis = figure.subplots()
    hidden = np.isnan(values) | ~(ceiling >= MIN_CEILING)  # also where no ceiling was measured
    shown = np.ma.masked_where(hidden, values)
    axis.set_facecolor("#d9dce2")
    axis.imshow(shown, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    _label(axis, [*(name for name, _ in layers), "reconstruction"], [name.replace("_", " ") for name in names])
    for row, column in np.ndindex(values.shape):
        _write(axis, row, column, values[row, column], bool(hidden[row, column]))
    axis.axhline(len(layers) - 0.5, color="white", linewidth=4)
    return figure


def _values(layers: Sequence[Metrics], names: Sequence[str], end: str) -> NDArray[np.float64]:
    found = [[metrics.get(f"{PREFIX}{name}{end}") for name in names] for metrics in layers]
    return np.array([[np.nan if value is None else value for value in row] for row in found])


def _label(axis: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="left", rotation_mode="anchor")
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _write(axis: Axes, row: int, column: int, value: float, grey: bool) -> None:
    """The number in a cell; dark on light colours, light on dark ones."""
    if not np.isnan(value):
        color = "#6b7488" if grey else "black" if value > 0.6 else "white"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color=color)
