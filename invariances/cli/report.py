"""Write report.html, its figures and its tables from evaluated runs: one run per layer, and runs with factors."""

import argparse
from pathlib import Path

HELP = "one page on what each layer keeps and drops"
EXAMPLES = """\
  invariances report logs/2026-11-25T10-00-00_digits_cinn_conv1 logs/2026-11-25T10-01-00_digits_cinn_logits
  invariances report latest:digits_cinn_conv1 latest:digits_cinn_logits -o my_report
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Runs, and where the report goes."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, or latest:EXPERIMENT")
    parser.add_argument("-o", "--out", type=Path, default=Path("report"), help="folder to write (default: report)")


def run(options: argparse.Namespace) -> None:
    """Write the report and print its path."""
    from invariances.evaluation.report.page import write_report  # matplotlib takes a second; --help should not
    from invariances.training.run import Run

    print(write_report([Run.find(run).path for run in options.runs], options.out))
