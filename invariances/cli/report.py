"""Write report.html, with its figures and tables, from evaluated runs: one run per layer, or runs with factors."""

import argparse
from pathlib import Path

HELP = "write a page about what each layer represents and what it is invariant to"
EXAMPLES = """\
  invariances report logs/2026-11-25T10-00-00_digits_cinn_conv1 logs/2026-11-25T10-01-00_digits_cinn_logits
  invariances report latest:digits_cinn_conv1 latest:digits_cinn_logits -o my_report
  invariances report logs/*_digits_cinn_*
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the runs and the output folder."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run folder, or latest:EXPERIMENT; trainings that differ in their seed alone are shown by their mean",
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("report"), metavar="FOLDER", help="output folder (default: report)"
    )


def run(options: argparse.Namespace) -> None:
    """Write the report and print its path."""
    from invariances.evaluation.report.page import write_report  # imports matplotlib, which --help does not need
    from invariances.training.run import Run, grouped_by_seed

    groups = grouped_by_seed([Run.find(run) for run in options.runs])
    print(write_report([[run.path for run in group] for group in groups], options.out))
