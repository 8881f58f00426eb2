"""Copy a config, or a folder of them, that comes with the package, to change it. Nothing is overwritten.

A copy at the same path below configs/ takes the place of the package's own in `edflow -b`.
"""

import argparse
import shutil
from pathlib import Path

from invariances.errors import UserError

HELP = "copy a config that comes with the package"
EXAMPLES = """\
  invariances cp digits/clf                 to configs/digits/clf.yaml, which edflow -b then reads
  invariances cp digits/clf my_clf.yaml
  invariances cp digits                     a folder, with all in it
  invariances cp custom/my_models.py .
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config and the target."""
    parser.add_argument("name", metavar="NAME", help="of a config or folder, as `invariances ls` lists it")
    parser.add_argument(
        "to", nargs="?", type=Path, metavar="TO", help="a new file or folder, or a folder to copy into (default: "
        "the same path below configs/)"
    )


def run(options: argparse.Namespace) -> None:
    """Copy, and print the paths of the copies.

    Raises:
        UserError: no such config, a copy would overwrite a file, or it cannot be written.
    """
    from invariances.utils.shipped_configs import ROOT, TOP, find_shipped

    source = find_shipped(options.name)
    target = options.to or Path(TOP, source.relative_to(ROOT))
    if options.to is not None and target.is_dir():
        target = target / source.name
    copies = {path: target / path.relative_to(source) for path in _files(source)}
    if there := [str(copy) for copy in copies.values() if copy.exists() or copy.is_symlink()]:
        raise UserError(f"{there[0]}: is there already, and is not overwritten; remove it, or name another place")
    for path, copy in copies.items():
        _copy(path, copy)
        print(copy)


def _files(source: Path) -> list[Path]:
    """A file itself, or all files below a folder."""
    return [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix in (".yaml", ".py"))


def _copy(path: Path, copy: Path) -> None:
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as given, copy.open("xb") as new:  # "x": a file that has just appeared is kept
            shutil.copyfileobj(given, new)
    except OSError as error:
        raise UserError(f"{copy}: cannot be written ({error.strerror})") from error
