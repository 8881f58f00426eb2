"""The chapter of the report on a disentangling INN: what its factors stand for."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

COLUMNS = {  # name of a number in `metrics.json`, with the factor's name in it -> head of its column
    "swap_{}_class_donor": "class becomes the donor's",
    "swap_{}_class_kept": "class stays",
    "swap_{}_colour_donor": "colour follows the donor's",
    "swap_{}_colour_kept": "colour stays",
    "response_{}_sigma": "σ of the verdict",
    "response_{}_changed": "verdict changes",
}
PICTURES = {  # name of a picture -> caption
    "response": "What the classifier says when one factor of the image on the left is drawn anew many times. One "
    "bar: its verdict does not depend on that factor.",
    "swaps_{}": "Swaps of {}: each image has the {} of the image at the top of its column, and all else of the one "
    "on the left of its row.",
    "walk_{}": "Random walks in {}: a row begins at an image, and nothing but its {} goes on from there.",
    "interpolations": "From one image to another: on a line in the space of the factors (upper row of each two), "
    "and on a line between the codes (lower row).",
}


@dataclass(frozen=True)
class FactorChapter:
    """What the report shows of one run.

    Attributes:
        title: name of the run.
        folder: of its evaluation.
        columns: heads of the table.
        rows: name of a factor, its size (none for `none`, where nothing is swapped), a number for each column.
        pictures: (caption, data URL).
    """

    title: str
    folder: Path
    columns: list[str]
    rows: list[tuple[str, int | None, list[float | None]]]
    pictures: list[tuple[str, str]]


def factor_chapter(run: Path, facts: Mapping[str, Any], folder: Path) -> FactorChapter:
    """Collect what an evaluation has found, and copy its pictures.

    Args:
        run: folder of the run.
        facts: what `metrics.json` holds, and the `folder` where it lies.
        folder: where the pictures go.
    """
    sizes, metrics = facts["factors"], facts["metrics"]
    names = ["none", *sizes]
    columns = [key for key in COLUMNS if any(key.format(name) in metrics for name in names)]
    rows = [(name, sizes.get(name), [metrics.get(key.format(name)) for key in columns]) for name in names]
    return FactorChapter(
        run.resolve().name,
        facts["folder"],
        [COLUMNS[key] for key in columns],
        [row for row in rows if row[0] != "none" or any(value is not None for value in row[2])],
        _pictures(facts["folder"], list(sizes), folder / run.resolve().name),
    )


def _pictures(source: Path, names: list[str], target: Path) -> list[tuple[str, str]]:
    found = []
    for stem, caption in PICTURES.items():
        for earlier in target.parent.glob(f"{escape(target.name)}-{stem.format('*')}.png"):
            earlier.unlink()  # a picture of an earlier report, perhaps of a factor that has another name now
        for name in names if "{}" in stem else [""]:
            path = source / f"{stem.format(name)}.png"
            if path.exists():
                picture = path.read_bytes()
                target.with_name(f"{target.name}-{path.name}").write_bytes(picture)
                url = "data:image/png;base64," + base64.b64encode(picture).decode()
                found.append((caption.format(name, name), url))
    return found
