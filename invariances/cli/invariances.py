"""`invariances`: what can be asked of runs and models outside of training. Each command is a module of this folder."""

import argparse
import sys

from invariances.cli import layers, report
from invariances.cli.command_line import Parser
from invariances.errors import UserError

COMMANDS = {"layers": layers, "report": report}


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, or 2 for a mistake of the user."""
    try:
        options = parser().parse_args(arguments)
        options.run(options)
    except UserError as error:
        print(f"invariances: error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line, with a sub-parser for each command.

    The module of a command has `HELP`, one line; `EXAMPLES`; `add_arguments(parser)`; and `run(options)`.
    """
    top = Parser(prog="invariances", description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


if __name__ == "__main__":
    sys.exit(main())
