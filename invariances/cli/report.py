"""Write report.html, with its figures and tables, from evaluated runs: one run per layer, or runs with factors."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from invariances.errors import UserError

HELP = "write a page about what each layer represents and what it is invariant to"
EXAMPLES = """\
  invariances report logs/2026-11-25T10-00-00_digits_cinn_conv1 logs/2026-11-25T10-01-00_digits_cinn_logits
  invariances report latest:digits_cinn_conv1 latest:digits_cinn_logits -o my_report
  invariances report logs/*_digits_cinn_*
  invariances report --compare studies/mine studies/resnet18
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the runs and the output folder."""
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="a run folder, or latest:EXPERIMENT; trainings that differ in their seed alone are shown by their mean",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar="MODEL",
        help="two networks side by side: each the folder of a study, or runs of its layers, separated by commas",
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("report"), metavar="FOLDER", help="output folder (default: report)"
    )


def run(options: argparse.Namespace) -> None:
    """Write the report and print its path.

    Raises:
        UserError: neither runs nor two networks are named, or both.
    """
    if bool(options.runs) == bool(options.compare):
        raise UserError("name the runs of one network, or two networks with --compare")
    from invariances.evaluation.report.comparison import write_comparison  # imports matplotlib, which --help does not
    from invariances.evaluation.report.page import write_report

    if options.compare:
        left, right = (_groups(_runs_of(name)) for name in options.compare)
        title, other = _titles(*options.compare)
        print(write_comparison((title, left), (other, right), options.out))
    else:
        print(write_report(_groups(options.runs), options.out))


def _titles(left: str, right: str) -> tuple[str, str]:
    """Names of two networks: of their studies, or A and B.

    >>> _titles("logs/one,logs/two", "logs/three")
    ('A', 'B')
    """
    a, b = (Path(name).name if _is_study(name) else letter for letter, name in zip("AB", (left, right), strict=True))
    return (a, b) if a != b else (f"{a} (A)", f"{b} (B)")


def _groups(names: Sequence[str]) -> list[list[Path]]:
    """Run folders, those that differ in their seed alone together."""
    from invariances.training.run import Run, grouped_by_seed

    return [[run.path for run in group] for group in grouped_by_seed([Run.find(name) for name in names])]


def _runs_of(name: str) -> list[str]:
    """The runs of a network: those of a study's layers, or those that are listed."""
    from invariances.config.reading import read_file
    from invariances.training.run import Run

    if not _is_study(name):
        return name.split(",")
    return [str(run.path) for run in Run.all(Path(name, "runs")) if "GreyboxModel" in read_file(run.config_path())]


def _is_study(name: str) -> bool:
    return Path(name, "runs").is_dir()
