"""Several trainings that differ in their seed alone, as one evaluation: means, and how much the trainings differ."""

import statistics
from collections.abc import Sequence
from dataclasses import replace

from invariances.evaluation.report.others import is_measure
from invariances.evaluation.report.stored import StoredEvaluation


def mean_over(trainings: Sequence[StoredEvaluation]) -> StoredEvaluation:
    """The first evaluation, with the mean of each number over all trainings; of one training, that evaluation itself.

    Of several, `<name>_sd` is the standard deviation of a number over the trainings, and `<name>_ci` the mean of their
    intervals, which are those of other images. A number that is not finite in one training is None.

    >>> from pathlib import Path
    >>> stored = [StoredEvaluation(Path(), "", {"nll": nll, "nll_ci": 0.5}, {}) for nll in (1.0, 2.0, 3.0)]
    >>> mean_over(stored).metrics
    {'nll': 2.0, 'nll_sd': 1.0, 'nll_ci': 0.5}
    """
    first = trainings[0]
    if len(trainings) == 1:
        return first
    metrics: dict[str, float | None] = {}
    for name in first.metrics:
        found = [stored.metrics.get(name) for stored in trainings]
        values = [value for value in found if value is not None]
        finite = len(values) == len(found)
        metrics[name] = statistics.mean(values) if finite else None
        if finite and is_measure(name):
            metrics[f"{name}_sd"] = statistics.stdev(values)
    return replace(first, metrics=metrics, n_trainings=len(trainings))
