"""One table of all numbers of a training, also if it was stopped or killed in between."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from invariances.errors import UserError
from invariances.utils.files import atomic_write

Row = dict[str, str]
TOO_MANY = ""  # key of the values of a damaged row beyond the last column


class CSVLog(Logger):
    """Append the numbers of a training to a CSV file, a row at a time; each is on the disk when the call returns.

    Args:
        path: of the file, made with the first row.
        begin: step that the training starts from. Later rows of a start that was killed are replaced.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     CSVLog(Path(folder, "a.csv")).log_metrics({"loss": 2.0}, 1)
        ...     CSVLog(Path(folder, "a.csv"), begin=1).log_metrics({"loss": 1.5}, 2)
        ...     Path(folder, "a.csv").read_text().split()
        ['step,loss', '1,2.0', '2,1.5']
    """

    def __init__(self, path: Path, begin: int = 0) -> None:
        super().__init__()
        self.path, self.begin = path, begin
        self._columns: list[str] | None = None  # None before the first row of this start

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Empty: there is one table for all starts."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The config is a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row."""
        row = {name: str(value) for name, value in {"step": step, **metrics}.items()}
        if self._columns is None or step is None or step <= self.begin or not row.keys() <= set(self._columns):
            self._write([*self._rows_before(row), row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _rows_before(self, row: Row) -> list[Row]:
        """The rows so far; those after `begin` only if this start wrote them, and none that `row` repeats."""
        rows = self._read()
        if self._columns is None:
            rows = [each for each in rows if _step(each) <= self.begin]
        return [each for each in rows if each["step"] != row["step"] or _filled(each) != _filled(row)]

    def _read(self) -> list[Row]:
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().decode(errors="replace").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # the last row may be half written
        try:
            rows = list(csv.DictReader(whole, restval="", restkey=TOO_MANY))
        except csv.Error as error:
            what = f"cannot be read ({error}); move it away to go on without these rows"
            raise UserError(f"{self.path}: {what}") from error
        return [row for row in rows if (row.get("step") or "").isdecimal() and TOO_MANY not in row]

    def _write(self, rows: list[Row]) -> None:
        self._columns = ["step", *sorted({name for row in rows for name in row} - {"step"})]
        with atomic_write(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, self._columns)
            table.writeheader()
            table.writerows(rows)


def _step(row: Row) -> int:
    return int(row["step"])


def _filled(row: Row) -> set[str]:
    return {name for name, value in row.items() if value != ""}
