"""The last table of a report: every number in `metrics.json` that no other table shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from invariances.evaluation import EVALUATIONS
from invariances.evaluation.base import texts
from invariances.evaluation.metrics.estimate import INTERVAL


@dataclass(frozen=True)
class OtherNumbers:
    """A table with one row for each number and one column for each run.

    Attributes:
        names: of the numbers.
        columns: head and numbers of each column.
        legend: text -> the names that it explains.
    """

    names: list[str]
    columns: Sequence[tuple[str, Mapping[str, float | None]]]
    legend: dict[str, list[str]]


def is_measure(name: str) -> bool:
    """Whether a number is one by itself, and not the interval or standard deviation of another one.

    >>> [is_measure(name) for name in ("fid_random", "fid_random_ci", "fid_random_sd", "share_low")]
    [True, False, False, False]
    """
    return not name.endswith((*INTERVAL, "_sd"))


def other_numbers(
    columns: Sequence[tuple[str, Mapping[str, float | None]]], legend: Mapping[str, str]
) -> OtherNumbers:
    """Arrange the numbers that no other table shows; losses are left out, intervals stand with their number.

    Args:
        columns: head and numbers of each column.
        legend: name -> how to read the number.

    >>> found = other_numbers([("conv1", {"sharpness": 0.5, "sharpness_ci": 0.1})], {"sharpness": "1: sharp."})
    >>> found.names, found.legend
    (['sharpness'], {'1: sharp.': ['sharpness']})
    """
    measured = dict.fromkeys(name for _, metrics in columns for name in metrics)
    names = [name for name in measured if is_measure(name) and not name.startswith("validation/")]
    explained: dict[str, list[str]] = {}
    for name in names:
        if name in legend:
            explained.setdefault(legend[name], []).append(name)
    return OtherNumbers(names, columns, explained)


def built_in(names: Iterable[str]) -> dict[str, str]:
    """The texts of the evaluations of this package, for a `metrics.json` without a legend.

    >>> list(built_in(["swap_digit_class_kept", "mine"]))
    ['swap_digit_class_kept']
    """
    listed = list(names)
    found: dict[str, str] = {}
    for evaluation in EVALUATIONS.values():
        found |= texts(evaluation.legend, listed)
    return found
