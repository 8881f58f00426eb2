"""List the data sets that come with the package: what an example holds, its usual size, and where the data come from.

A config names one as `train: invariances.data.NAME`, or with arguments as {class: invariances.data.NAME, size: 64}.
`edexplore --dataset invariances.data.NAME` shows one in the browser.
"""

import argparse
from itertools import groupby
from operator import attrgetter

HELP = "list the data sets"
EXAMPLES = """\
  invariances data
  invariances data MNIST
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the part of a name."""
    parser.add_argument("part", nargs="?", default="", metavar="PART", help="list only names with this part")


def run(options: argparse.Namespace) -> None:
    """Print a block for each source, and in it a line for each data set.

    Raises:
        UserError: no name has the part.
    """
    from invariances.errors import UserError

    chosen = [cls for cls in _classes() if options.part.lower() in cls.__name__.lower()]
    if not chosen:
        raise UserError(f"{options.part}: no data set has this in its name; see invariances data")
    width = max(len(cls.__name__) for cls in chosen)
    blocks = [
        [_first_line(__import__(module, fromlist=["_"]).__doc__), *(_row(cls, width) for cls in classes)]
        for module, classes in groupby(chosen, attrgetter("__module__"))
    ]
    print("\n\n".join("\n".join(block) for block in blocks))


def _classes() -> list[type]:
    """The data sets, those of one module together."""
    from torch.utils.data import Dataset

    import invariances.data as package

    found = [getattr(package, name) for name in package.__all__]
    return sorted((cls for cls in found if issubclass(cls, Dataset)), key=attrgetter("__module__"))


def _row(cls: type, width: int) -> str:
    from invariances.config.signatures import parameters

    size = parameters(cls)[0].get("size")
    pixels = f"{size.default} px" if size is not None and isinstance(size.default, int) else ""
    return f"  {cls.__name__:{width}}  {pixels:6}  {_first_line(cls.__doc__)}"


def _first_line(text: str | None) -> str:
    r"""The first line of a docstring, without the marks of code.

    >>> _first_line("Faces: `image` (3, 64, 64).\n\nMore.")
    'Faces: image (3, 64, 64).'
    """
    return (text or "").partition("\n")[0].replace("`", "")
