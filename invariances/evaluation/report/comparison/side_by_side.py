"""Write the page that compares two networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from invariances.errors import UserError
from invariances.evaluation.report import plots
from invariances.evaluation.report.attribute_map import attribute_map, attribute_names
from invariances.evaluation.report.page import (
    PAGE,
    EvaluatedLayer,
    evaluated_layers,
    page_template,
    save_figure,
    writing,
)
from invariances.evaluation.report.tables import LADDER

TEMPLATE = "comparison/comparison.html"
T = TypeVar("T")
Groups = Sequence[Sequence[Path]]


@dataclass(frozen=True)
class Pair:
    """A layer of each network, and the pictures of their samples as data URLs."""

    left: EvaluatedLayer
    right: EvaluatedLayer
    pictures: tuple[str, str]


def write_comparison(left: tuple[str, Groups], right: tuple[str, Groups], folder: Path) -> Path:
    """Write `report.html` with the layers of two networks side by side, matched by depth.

    Args:
        left, right: name, and groups of runs of conditional INNs, see `write_report`.
        folder: to write to.

    Returns:
        path of the page, which needs no other file.

    Raises:
        UserError: a run has not been evaluated, there is no layer, or the pictures are of other images.
    """
    names, both = (left[0], right[0]), [_layers(*side) for side in (left, right)]
    _require_same_images(names, both[0][0], both[1][0])
    with writing(folder, [run for _, groups in (left, right) for group in groups for run in group]) as part:
        pairs = [
            Pair(*layers, (_samples(layers[0], part, f"a{i}"), _samples(layers[1], part, f"b{i}")))
            for i, layers in enumerate(matched(*both), start=1)
        ]
        columns = [name for name in LADDER[1:] if any(name in layer.metrics for layers in both for layer in layers)]
        maps = [_map(layers, part, side) for layers, side in zip(both, "ab", strict=True)]
        page = page_template(TEMPLATE).render(names=names, pairs=pairs, columns=columns, maps=maps)
        (part / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE


def matched(left: list[T], right: list[T]) -> list[tuple[T, T]]:
    """The layers of the network with fewer of them, each with that of the other at the same relative place.

    Both are in the order of their depth; first and last layers go together.

    >>> matched(["conv1", "conv2", "logits"], ["stem", "head"])
    [('conv1', 'stem'), ('logits', 'head')]
    """
    n = min(len(left), len(right))
    places = [i / max(1, n - 1) for i in range(n)]
    return [(left[round(at * (len(left) - 1))], right[round(at * (len(right) - 1))]) for at in places]


def _layers(name: str, groups: Groups) -> list[EvaluatedLayer]:
    layers = evaluated_layers(groups)
    if not layers:
        raise UserError(f"{name}: holds no evaluated layer; expected runs of conditional INNs")
    return layers


def _require_same_images(names: tuple[str, str], left: EvaluatedLayer, right: EvaluatedLayer) -> None:
    if not np.array_equal(next(iter(left.views.values())), next(iter(right.views.values()))):
        raise UserError(
            f"{names[0]}, {names[1]}: their pictures are of other images; compare runs with the same data, size and "
            "number of pictures in `grid`"
        )


def _samples(layer: EvaluatedLayer, folder: Path, name: str) -> str:
    return save_figure(plots.samples(layer.views), folder / f"layer-0-{name}.png")


def _map(layers: list[EvaluatedLayer], folder: Path, side: str) -> str:
    """The map of layers and attributes; empty if they were not measured."""
    metrics = [(layer.name, layer.metrics) for layer in layers]
    if not attribute_names([name for layer in layers for name in layer.metrics]):
        return ""
    return save_figure(attribute_map(metrics), folder / f"layer-0-attributes-{side}.png")
