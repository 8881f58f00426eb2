"""List the configs for `edflow -b`: those that come with the package, and your own below configs/."""

import argparse

HELP = "list the configs for edflow -b"
EXAMPLES = """\
  invariances ls
  invariances ls digits
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the part of a name."""
    parser.add_argument("part", nargs="?", default="", metavar="PART", help="list only paths with this part")


def run(options: argparse.Namespace) -> None:
    """Print a line for each config: the path to type, and its first line.

    Raises:
        UserError: no path has the part.
    """
    from invariances.errors import UserError
    from invariances.utils.files import read_lines
    from invariances.utils.names import printable
    from invariances.utils.shipped_configs import config_files

    chosen = {name: path for name, path in config_files().items() if options.part in name}
    if not chosen:
        raise UserError(f"{options.part}: no config has this in its path; see invariances ls")
    width = max(map(len, chosen))
    for name, path in chosen.items():
        print(printable(f"{name:{width}}  {_title(next(iter(read_lines(path)), ''))}"))


def _title(text: str) -> str:
    r"""The first sentence of a config's head comment.

    >>> _title("# The classifier under study: digits. All else\n# is below.\nmodel: a.B\n")
    'The classifier under study: digits'
    """
    first = text.partition("\n")[0]
    return first.lstrip("# ").partition(". ")[0].rstrip(".:") if first.startswith("#") else ""
