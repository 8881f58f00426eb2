"""Attributes of images in a table of the user's."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import torch
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.utils.files import read_bytes

KEYS = ("index", "file")
MOST_BYTES = 10**9


def read_table(path: Path, files: Sequence[str] | None, rows: Sequence[int]) -> dict[str, Tensor]:
    """Read the attributes of some images from a .csv file with a head.

    Its column `index` (of the image in the data set, from 0) or `file` (its path or the end of it) says which image a
    row is about. In each other column, numbers are values and other text is the name of a class; images without a row,
    empty cells and infinite numbers have NaN, or a class of their own.

    Args:
        path: of the table.
        files: paths of all images of the data set, where it has any.
        rows: indices of the images wanted.

    Returns:
        name of a column -> (len(rows),), float values or integer classes.

    Raises:
        InvalidInput: no such file, no column `index` or `file`, two rows about one image, or none about any that is
            wanted.
    """
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        names, lines = list(reader.fieldnames or ()), list(reader)
    except (InvalidInput, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: the table of attributes cannot be read ({error})") from error
    key = next((name for name in KEYS if name in names), None)
    if key is None:
        raise InvalidInput(f"{path}: has columns {', '.join(names)}; expected one of them to be index or file")
    if key == "file" and files is None:
        raise InvalidInput(f"{path}: names files, but the data set has no files; use a column index")
    by_image = {line[key]: line for line in lines}
    if len(by_image) < len(lines):
        twice, _ = Counter(line[key] for line in lines).most_common(1)[0]
        raise InvalidInput(f"{path}: {key} {twice} has two rows or more; expected one")
    keys = [str(row) if key == "index" else _name(by_image, (files or ())[row]) for row in rows]
    if not any(name in by_image for name in keys):
        example = (files or ())[rows[0]] if key == "file" else rows[0]
        raise InvalidInput(f"{path}: has no row about any of the images, such as {example}")
    columns = {name: [by_image.get(k, {}).get(name) or "" for k in keys] for name in names if name not in KEYS}
    return {name: _values(cells) for name, cells in columns.items()}


def _name(table: dict[str, dict[str, str]], file: str) -> str:
    """The end of a file's path that the table names, as long as possible."""
    parts = PurePath(file).parts
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in (file, *ends) if end in table), "")


def _values(cells: Sequence[str]) -> Tensor:
    try:
        values = torch.tensor([float(cell or "nan") for cell in cells])
        return values.masked_fill(values.isinf(), torch.nan)
    except ValueError:
        classes = sorted(set(cells))
        return torch.tensor([classes.index(cell) for cell in cells])
