"""`invariances`: what can be asked of runs and models outside of training."""

import argparse
import sys
from pathlib import Path

from invariances.errors import UserError

EXAMPLES = """examples:
  invariances report logs/2026-11-25T10-00-00_digits_cinn_conv1 logs/2026-11-25T10-01-00_digits_cinn_logits
  invariances report latest:digits_cinn_conv1 latest:digits_cinn_logits -o my_report
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"invariances: error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: one sub-command each."""
    top = argparse.ArgumentParser(prog="invariances", description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report",
        help="one page on what each layer keeps and drops",
        description="Write report.html, its figures and ladder.csv from evaluated runs, one run per layer.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, or latest:EXPERIMENT")
    report.add_argument("-o", "--out", type=Path, default=Path("report"), help="folder to write (default: report)")
    report.set_defaults(run=_report)
    return top


def _report(options: argparse.Namespace) -> None:
    from invariances.evaluation.report.page import write_report  # matplotlib takes a second; --help should not
    from invariances.training.run import Run

    print(write_report([Run.find(run).path for run in options.runs], options.out))


if __name__ == "__main__":
    sys.exit(main())
