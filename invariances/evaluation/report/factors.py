"""The section of the report on a disentangling INN: the meaning of its factors."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from invariances.evaluation.report.stored import StoredEvaluation

COLUMNS = {  # name of a number in `metrics.json`, with the factor's name for {} -> head of its column
    "swap_{}_class_donor": "class becomes the donor's",
    "swap_{}_class_kept": "class stays",
    "swap_{}_colour_donor": "colour follows the donor's",
    "swap_{}_colour_kept": "colour stays",
    "response_{}_sigma": "σ of the predicted class",
    "response_{}_changed": "predicted class changes",
}
PICTURES = {  # name of a picture -> caption
    "response": "Predicted classes when one factor of the image on the left is replaced by random values. One bar: the "
    "prediction does not depend on that factor.",
    "swaps_{}": "Swaps of {}: each image has the {} of the image at the top of its column, and all other factors "
    "of the image on the left of its row.",
    "walk_{}": "Random walks in {}: a row begins at an image, and only its {} changes from there on.",
    "interpolations": "Interpolations from one image to another: linear in the space of the factors (upper row of each "
    "two), and linear between the codes (lower row).",
}


@dataclass(frozen=True)
class FactorSection:
    """The section of one run.

    Attributes:
        title: name of the run.
        folder: of its evaluation.
        columns: heads of the table.
        rows: name of a factor, its size (None for the row `none`, without a swap), a number for each column.
        pictures: (caption, data URL).
    """

    title: str
    folder: Path
    columns: list[str]
    rows: list[tuple[str, int | None, list[float | None]]]
    pictures: list[tuple[str, str]]


def factor_section(run: Path, stored: StoredEvaluation, folder: Path) -> FactorSection:
    """Collect the numbers of an evaluation, and copy its pictures.

    Args:
        run: folder of the run.
        stored: its evaluation.
        folder: to write the pictures to.
    """
    sizes, metrics = stored.factors or {}, stored.metrics
    names = ["none", *sizes]
    columns = [key for key in COLUMNS if any(key.format(name) in metrics for name in names)]
    rows = [(name, sizes.get(name), [metrics.get(key.format(name)) for key in columns]) for name in names]
    return FactorSection(
        run.resolve().name,
        stored.folder,
        [COLUMNS[key] for key in columns],
        [row for row in rows if row[0] != "none" or any(value is not None for value in row[2])],
        _pictures(stored.folder, list(sizes), folder / run.resolve().name),
    )


def listed_numbers(names: Iterable[str]) -> set[str]:
    """The numbers in the table of a section, for factors of these names."""
    return {key.format(name) for key in COLUMNS for name in ("none", *names)}


def earlier_pictures(run: Path, folder: Path) -> list[Path]:
    """The pictures of a run in an earlier report, perhaps of factors that have other names now."""
    name = escape(run.resolve().name)
    return [path for stem in PICTURES for path in folder.glob(f"{name}-{stem.format('*')}.png")]


def _pictures(source: Path, names: list[str], target: Path) -> list[tuple[str, str]]:
    found = []
    for stem, caption in PICTURES.items():
        for name in names if "{}" in stem else [""]:
            path = source / f"{stem.format(name)}.png"
            if path.exists():
                picture = path.read_bytes()
                target.with_name(f"{target.name}-{path.name}").write_bytes(picture)
                url = "data:image/png;base64," + base64.b64encode(picture).decode()
                found.append((caption.format(name, name), url))
    return found
