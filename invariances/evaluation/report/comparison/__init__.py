"""Two networks on one page: their layers side by side, on the same images."""

from invariances.evaluation.report.comparison.side_by_side import write_comparison

__all__ = ["write_comparison"]
