"""Show what layers represent and what they are invariant to, in the browser: samples, attacks, mixing, clips, factors.

Without runs, it shows small models that come with the package, all runs and studies below logs/ and studies/, and
released models, which it downloads when they are wanted.
"""

import argparse
from pathlib import Path

import invariances
from invariances.cli.serving import port, serve

HELP = "show what layers represent and what they are invariant to, in the browser"
EXAMPLES = """\
  invariances demo
  invariances demo latest:digits_cinn_conv1 latest:digits_cinn_logits
  invariances demo logs/2026-11-25T10-00-00_digits_diin --port 9000
  invariances demo studies/Net_my_pictures
"""
PAGE = Path(invariances.__file__).parent / "demo_visualization.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the runs and the port."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folder of a run or study, or latest:EXPERIMENT")
    parser.add_argument("--port", type=port, help="of the page (default: the first free one from 8501)")


def run(options: argparse.Namespace) -> None:
    """Replace this process by the server."""
    serve(PAGE, [_folder(each) for each in options.runs], options.port)


def _folder(text: str) -> str:
    """The folder of a run or study."""
    from invariances.studies.planning import FILE  # imports torch, which the server does by itself
    from invariances.training.run import Run

    return text if Path(text, FILE).is_file() else str(Run.find(text).path)
