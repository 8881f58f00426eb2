"""Look at the released models, and download and verify them. `checkpoint: zoo:NAME` in a config does so by itself.

They lie in the folder `zoo` of the data folder, $INVARIANCES_DATA. Some files come without a published checksum; of
these, the first one that arrives is taken as the right one.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict

from invariances.errors import UserError

HELP = "list, download and verify the released models"
EXAMPLES = """\
  invariances zoo ls
  invariances zoo show bigae_animals
  invariances zoo get bigae_animals cinn_alexnet_aae_fc6
  invariances zoo verify
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, (action, nargs) in ACTIONS.items():
        what = (action.__doc__ or "").partition("\n")[0].rstrip(".")
        command = actions.add_parser(name, help=what[0].lower() + what[1:], description=f"{what}.", allow_abbrev=False)
        if nargs is not None:
            command.add_argument("names", nargs=nargs, metavar="NAME", help="as `invariances zoo ls` lists it")
        command.set_defaults(action=action)


def run(options: argparse.Namespace) -> None:
    """Run the action."""
    options.action(options)


def _ls(options: argparse.Namespace) -> None:
    """List the models: name, class, and whether the file is there."""
    from invariances.zoo import zoo

    rows = [("name", "class", "file")]
    rows += [(name, (zoo.entry(name).model or "-").rpartition(".")[2], _lies(name)) for name in zoo.names()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))


def _lies(name: str) -> str:
    from invariances.zoo import zoo

    size = zoo.path(name).stat().st_size if zoo.path(name).is_file() else None
    return "-" if size is None else f"{size / 1e6:,.0f} MB"


def _show(options: argparse.Namespace) -> None:
    """Show the record of a model: address, checksum, class and arguments, paper, and where the file lies."""
    from invariances.config.reading import dump
    from invariances.zoo import zoo

    for name in options.names:
        record = {key: value for key, value in asdict(zoo.entry(name)).items() if value not in ("", {}, None)}
        known = {"checksum": "not published", "licence": "unknown", "size": "unknown"} | record
        print(dump(known | {"path": str(zoo.path(name)), "state": zoo.state(name)}), end="")


def _get(options: argparse.Namespace) -> None:
    """Download models, unless they are there already, verify them, and print their paths."""
    from invariances.zoo import zoo

    for name in options.names:
        zoo.find(f"zoo:{zoo.entry(name).name}")
        print(zoo.path(name))


def _path(options: argparse.Namespace) -> None:
    """Print where the file of a model lies, or will lie; nothing is downloaded."""
    from invariances.zoo import zoo

    for name in options.names:
        print(zoo.path(name))


def _verify(options: argparse.Namespace) -> None:
    """Compare files with their checksums: those of the models named, or all that are there."""
    from invariances.zoo import zoo

    states = {name: zoo.state(name) for name in options.names or zoo.names()}
    for name, state in states.items():
        if options.names or state != "absent":
            print(f"{name}: {MEANINGS[state]}")
    if bad := [name for name, state in states.items() if state == "damaged"]:
        raise UserError(f"{', '.join(bad)}: damaged; download anew with: invariances zoo get {' '.join(bad)}")


MEANINGS = {
    "absent": "not downloaded",
    "good": "good",
    "first seen": "as it was when first seen; its checksum is not published",
    "unverified": "its checksum is not published, and none has been kept yet",
    "damaged": "damaged",
}
Action = Callable[[argparse.Namespace], None]
ACTIONS: dict[str, tuple[Action, str | None]] = {
    "ls": (_ls, None),
    "show": (_show, "+"),
    "get": (_get, "+"),
    "path": (_path, "+"),
    "verify": (_verify, "*"),
}
