"""Figures of the report."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from invariances.utils.images import stack_pictures

Layers = Sequence[tuple[str, Mapping[str, float | None]]]

KEPT = {
    "class_agreement_autoencoder": ("class, reconstruction", "C0--"),
    "class_agreement": ("class", "C0-o"),
    "hue_agreement_autoencoder": ("colour, reconstruction", "C3--"),
    "hue_agreement": ("colour", "C3-o"),
    "hue_agreement_mlp": ("colour, of an MLP", "C3:"),
}
SIMILARITY = {
    "cosine_autoencoder": ("reconstruction", "C7--"),
    "cosine": ("samples", "C2-o"),
    "cosine_nearest": ("nearest real image", "C7-."),
    "cosine_random": ("random image", "C7:"),
}
OPEN = {
    "residual_variance": ("codes, measured", "C4-o"),
    "variance_explained_by_v": ("codes, the flow's claim", "C4--s"),
    "residual_variance_mlp": ("codes, error of an MLP", "C4:"),
    "diversity": ("pixels of the samples", "C1-o"),
}
RETRIEVED = {
    "retrieval_mrr_autoencoder": ("reconstruction", "C7--"),
    "retrieval_mrr": ("samples", "C2-o"),
    "retrieval_mrr_random": ("random image", "C7:"),
}
PROBED = {
    "probe_accuracy_code": ("from the code", "C7--"),
    "probe_accuracy": ("from v, linear", "C4-o"),
    "probe_accuracy_nonlinear": ("from v, non-linear", "C4--s"),
    "probe_chance": ("chance", "C7:"),
}
CALIBRATION = {
    "spread_skill": ("spread / error (exact: 1)", "C1-o"),
    "half_v_squared": ("½v² (exact: 0.5)", "C2-s"),
    "c2st": ("C2ST (exact: 0.5)", "C4-^"),
}
LADDER = {
    "Kept: samples share …": KEPT,
    "Check: cosine of the responses": SIMILARITY,
    "Dropped: variance left open": OPEN,
}
CHECKS = {
    "Calibration of the flow": CALIBRATION,
    "Reciprocal rank of the input": RETRIEVED,
    "Class read by a probe": PROBED,
}


def along_the_depth(panels: Mapping[str, Mapping[str, tuple[str, str]]], layers: Layers) -> Figure:
    """Panels with a line per measure over the layers, and its 95 % interval as a band.

    Args:
        panels: title -> name of a measure -> label and style of its line.
        layers: name and numbers of each, in the order of depth.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axis, (title, series) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axis.set_title(title, fontsize=11)
        _lines(axis, layers, series)
    return figure


def _lines(axis: Axes, layers: Layers, series: Mapping[str, tuple[str, str]]) -> None:
    positions = np.arange(len(layers))
    for metric, (label, style) in series.items():
        values, low, high = (_values(layers, metric, end) for end in (0, -1, 1))
        if not np.isnan(values).all():
            (line,) = axis.plot(positions, values, style, label=label)
            axis.fill_between(positions, low, high, color=line.get_color(), alpha=0.15, lw=0)
    axis.set_xticks(positions, [short(name) for name, _ in layers], rotation=20, ha="right", parse_math=False)
    axis.set_ylim(min(-0.05, axis.get_ylim()[0]), max(1.05, axis.get_ylim()[1]))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, loc="best")


def _values(layers: Layers, name: str, end: int) -> NDArray[np.float64]:
    """A number of each layer (0), or the lower (-1) or upper (1) end of its interval."""
    return np.array([_end(metrics, name, end) for _, metrics in layers])


def _end(metrics: Mapping[str, float | None], name: str, end: int) -> float:
    """See `_values`; NaN of what is missing.

    >>> [_end({"a": 1.0, "a_ci": 0.5, "a_low": 0.3}, "a", end) for end in (-1, 0, 1)]
    [0.3, 1.0, 1.5]
    """
    suffix = {-1: "_low", 0: "", 1: "_high"}[end]
    stored = metrics.get(f"{name}{suffix}")
    if stored is not None:
        return stored
    value, half = metrics.get(name), metrics.get(f"{name}_ci")
    return np.nan if value is None or half is None else value + end * half


def short(name: str, n: int = 40) -> str:
    """A name of at most n printable characters, for a figure.

    >>> short("conv1"), short("x" * 99, n=3)
    ('conv1', 'xxx…')
    """
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return printable if len(printable) <= n else f"{printable[:n]}…"


def samples(views: Mapping[str, NDArray[np.uint8]], n_images: int = 4) -> Figure:
    """Inputs in rows; their reconstruction, samples, and mean and spread of these in columns, with gaps between.

    Args:
        views: label -> (B, C, H, W) bytes, of the grid of a conditional INN.
        n_images: rows.
    """
    labels = list(views)
    columns = _columns(labels)
    shown = min(n_images, len(views[labels[0]]))
    height, width = views[labels[0]].shape[2:]
    ratios = np.full(max(columns.values()) + 1, 0.25)
    ratios[list(columns.values())] = 1
    figure = Figure(figsize=(0.95 * len(ratios), 0.95 * shown * height / width + 0.3), layout="constrained")
    axes = figure.subplots(1, len(ratios), squeeze=False, gridspec_kw={"width_ratios": ratios})[0]
    for axis in axes:
        axis.set_axis_off()
    for label, column in columns.items():
        axes[column].set_title(short(label), fontsize=9, parse_math=False)
        pixels = stack_pictures(views[label][:shown])
        axes[column].imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return figure


def _columns(labels: list[str]) -> dict[str, int]:
    """Column of each label; one is left empty where samples begin and where they end."""
    columns, gaps = {}, 0
    for number, label in enumerate(labels):
        gaps += number > 0 and label.startswith("sample") != labels[number - 1].startswith("sample")
        columns[label] = number + gaps
    return columns
