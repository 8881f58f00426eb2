"""Write the report: one page on the layers of a network, and on the factors of disentangling INNs."""

import base64
import csv
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jinja2 import Environment, PackageLoader, Template, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from invariances.errors import InvalidInput, UserError
from invariances.evaluation.metrics.faithfulness.legend import LEGEND
from invariances.evaluation.report import plots
from invariances.evaluation.report.assessment import THRESHOLDS, Assessment, Metrics, assess, difference
from invariances.evaluation.report.attribute_map import attribute_map, attribute_names, attribute_section
from invariances.evaluation.report.factors import earlier_pictures, factor_section, listed_numbers
from invariances.evaluation.report.others import OtherNumbers, other_numbers
from invariances.evaluation.report.stored import StoredEvaluation, newest, read
from invariances.evaluation.report.study_facts import StudyFacts
from invariances.evaluation.report.tables import LADDER, SECTIONS, Section, further
from invariances.evaluation.report.trainings import mean_over
from invariances.utils.files import require_own_files

PAGE = "report.html"
PAGE_TEMPLATE = "page.html"
PART = ".report."  # temporary folder of a report
FILES = ("attributes.png", "ladder.png", "checks.png", "layer-[0-9]*-*.png", "ladder.csv", "faithfulness.csv")


@dataclass(frozen=True)
class EvaluatedLayer:
    """An evaluation of one layer.

    Attributes:
        name, depth: of the layer.
        folder: of the evaluation.
        metrics: its numbers.
        views: its pictures, label -> (B, C, H, W).
        cautions: see `StoredEvaluation`.
        n_trainings: whose mean the numbers are.
    """

    name: str
    depth: int
    folder: Path
    metrics: dict[str, float | None]
    views: Mapping[str, NDArray[np.uint8]]
    cautions: Sequence[str] = ()
    n_trainings: int = 1

    @property
    def assessment(self) -> Assessment:
        """Whether its samples can be trusted."""
        return assess(self.metrics)


def write_report(groups: Sequence[Sequence[Path]], folder: Path, study: StudyFacts | None = None) -> Path:
    """Write `report.html` and its figures, and for layers `ladder.csv` and `faithfulness.csv`.

    Args:
        groups: run folders of conditional INNs, one group per layer, in any order, and of disentangling INNs; those in
            one group are trainings that differ in their seed alone.
        folder: to write to.
        study: that the runs belong to.

    Returns:
        path of the page, which needs no other file.

    Raises:
        UserError: a run has not been evaluated, or is of another kind; the folder cannot be written.
    """
    evaluated = {group[0]: _evaluated(group) for group in groups}
    layers = _by_depth(evaluated.values())
    with writing(folder, [run for group in groups for run in group]) as part:
        sections = [factor_section(run, stored, part) for run, (stored, _) in evaluated.items() if stored.factors]
        others = _others({run: stored for run, (stored, _) in evaluated.items()}, layers)
        variables = _ladder(layers, part) if layers else {}
        page = page_template(PAGE_TEMPLATE).render(factor_sections=sections, others=others, study=study, **variables)
        (part / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE


def evaluated_layers(groups: Sequence[Sequence[Path]]) -> list[EvaluatedLayer]:
    """The layers of groups of runs, see `write_report`, in the order of their depth.

    Raises:
        UserError: a run has not been evaluated.
    """
    return _by_depth([_evaluated(group) for group in groups])


def _by_depth(evaluated: Iterable[tuple[StoredEvaluation, Mapping[str, NDArray[np.uint8]]]]) -> list[EvaluatedLayer]:
    layers = (
        EvaluatedLayer(
            stored.layer, stored.depth, stored.folder, stored.metrics, views, stored.cautions, stored.n_trainings
        )
        for stored, views in evaluated
        if stored.layer is not None
    )
    return sorted(layers, key=lambda layer: layer.depth)


def _evaluated(group: Sequence[Path]) -> tuple[StoredEvaluation, Mapping[str, NDArray[np.uint8]]]:
    """The numbers of a group of trainings, and the pictures of the first."""
    found = [newest(run) for run in group]
    return mean_over([stored for stored, _ in found]), found[0][1]


@contextmanager
def writing(folder: Path, runs: Sequence[Path]) -> Iterator[Path]:
    """A temporary folder, whose files replace those of an earlier report when all of them are written.

    Raises:
        UserError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_own_files(folder)
        for left in folder.glob(f"{PART}*"):  # of a report that was killed
            shutil.rmtree(left, ignore_errors=True)
        with TemporaryDirectory(dir=folder, prefix=PART) as part:
            yield Path(part)
            for earlier in _earlier_files(folder, runs):
                earlier.unlink()
            for path in sorted(Path(part).iterdir(), key=lambda path: path.name == PAGE):  # the page last
                os.replace(path, folder / path.name)
    except InvalidInput as error:
        raise UserError(f"{folder}: {error}") from error
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written there ({error}); name another folder: -o") from error
    finally:
        with suppress(OSError):  # not empty: the report, or other files
            folder.rmdir()


def _earlier_files(folder: Path, runs: Sequence[Path]) -> list[Path]:
    """The files of an earlier report, which may have had other layers."""
    patterns = FILES if (folder / PAGE).exists() else ()
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    return [*found, *(path for run in runs for path in earlier_pictures(run, folder))]


def can_report(folder: Path) -> bool:
    """Whether a report can use the evaluation in a folder."""
    return read(folder).usable


def _others(evaluated: Mapping[Path, StoredEvaluation], layers: Sequence[EvaluatedLayer]) -> OtherNumbers:
    """The numbers that no other table shows: layers in the order of their depth, then the runs with factors."""
    measured = [name for layer in layers for name in layer.metrics]
    listed = {*LADDER, *(name for section in _sections(measured) for name in section.names)}
    columns: list[tuple[str, Mapping[str, float | None]]] = []
    for layer in layers:
        columns.append((layer.name, {name: value for name, value in layer.metrics.items() if name not in listed}))
    for run, stored in evaluated.items():
        if stored.factors:
            shown = listed_numbers(stored.factors)
            columns.append((run.resolve().name, {n: v for n, v in stored.metrics.items() if n not in shown}))
    legend = {name: text for stored in evaluated.values() for name, text in stored.legend.items()}
    return other_numbers(columns, legend)


def _ladder(layers: list[EvaluatedLayer], folder: Path) -> dict[str, object]:
    """Write tables and figures of the layers; returns the variables of the page."""
    measured = list(dict.fromkeys(name for layer in layers for name in layer.metrics))
    rest = [name for name in measured if name not in LADDER and not name.startswith("validation/")]
    _write_table(folder / "ladder.csv", layers, LADDER[1:])
    _write_table(folder / "faithfulness.csv", layers, rest)
    metrics = [(layer.name, layer.metrics) for layer in layers]
    sections = [section.restricted_to(measured) for section in _sections(measured)]
    columns = [name for name in LADDER[1:] if name in measured]
    first, last = layers[0].metrics, layers[-1].metrics
    return {
        "layers": layers,
        "accuracy": _accuracy(layers),
        "change": lambda name: _change(first, last, name),
        "columns": columns,
        "thresholds": THRESHOLDS,
        "legend": {name: LEGEND[name] for name in columns if name in LEGEND},
        "attributes": attribute_names(measured)
        and save_figure(attribute_map(metrics), folder / "attributes.png"),
        "sections": [section for section in sections if section.groups],
        "plots": [
            save_figure(plots.along_the_depth(panels, metrics), folder / f"{name}.png")
            for name, panels in {"ladder": plots.LADDER, "checks": plots.CHECKS}.items()
        ],
        "pictures": [
            save_figure(plots.samples(layer.views), folder / f"layer-{number}-{_file_name(layer.name)}.png")
            for number, layer in enumerate(layers, start=1)
        ],
    }


def _sections(measured: Sequence[str]) -> tuple[Section, ...]:
    """All tables of the layers."""
    return (attribute_section(measured), *SECTIONS, further(measured))


def page_template(name: str) -> Template:
    """A template beside this file, with the filters that write numbers."""
    environment = Environment(loader=PackageLoader("invariances.evaluation.report", ""), autoescape=select_autoescape())
    environment.filters |= {"number": _number, "cell": _cell, "title": _title}
    return environment.get_template(name)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)[:80]


def _write_table(path: Path, layers: list[EvaluatedLayer], columns: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["layer", *columns])
        for layer in layers:
            table.writerow([layer.name, *(_number(layer.metrics.get(column)) for column in columns)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) >= 10 else f"{round(value, 3) + 0:.3f}"  # no −0


def _accuracy(layers: Sequence[EvaluatedLayer]) -> str:
    """How often the network is right: by the evaluation of the first layer, whose images are those of all others."""
    metrics = layers[0].metrics
    if metrics.get("network_accuracy") is None:
        return ""
    value, low, high = (_number(metrics.get(f"network_accuracy{end}")) for end in ("", "_low", "_high"))
    return f"The network itself is right on {value}{f' ({low} … {high})' if low and high else ''} of these images."


def _change(first: Metrics, last: Metrics, name: str) -> str:
    """How a number goes from one layer to another, in words.

    >>> _change({"a": 0.861, "a_ci": 0.035}, {"a": 0.847, "a_ci": 0.028}, "a")
    'does not change beyond chance (0.861, 0.847)'
    >>> _change({"a": 0.861, "a_ci": 0.035}, {"a": 0.5, "a_ci": 0.028}, "a")
    'goes from 0.861 to 0.500'
    """
    one, other = _number(first.get(name)), _number(last.get(name))
    if difference(first, name, last, name):
        return f"goes from {one} to {other}"
    return f"does not change beyond chance ({one}, {other})"


def _title(name: str) -> str:
    """The name of a number as it stands on the page.

    >>> _title("cosine_autoencoder"), _title("half_v_squared"), _title("spread_skill")
    ('cosine reconstruction', '½v²', 'spread / error')
    """
    words = {"autoencoder": "reconstruction", "half_v_squared": "½v²", "spread_skill": "spread / error"}
    for old, new in words.items():
        name = name.replace(old, new)
    return name.replace("_", " ")


def _cell(metrics: Mapping[str, float | None], name: str) -> Markup:
    """A number, and under it its 95 % interval, or half of a symmetric one, and its deviation over trainings."""
    value, spreads = metrics.get(name), {"±": metrics.get(f"{name}_ci"), "σ": metrics.get(f"{name}_sd")}
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    if value is not None and low is not None and high is not None:
        spreads = {f"{_number(low)} …": high, "σ": spreads["σ"]}
    small = Markup("").join(
        Markup("<small>{}{}{}</small>").format(sign, " " if sign.endswith("…") else "\xa0", _number(spread))
        for sign, spread in spreads.items()
        if value is not None and spread
    )
    return Markup("{}{}").format(_number(value), small)


def save_figure(figure: Figure, path: Path) -> str:
    """Save a figure as PNG, and return it as a data URL for the page."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    path.write_bytes(buffer.getvalue())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
