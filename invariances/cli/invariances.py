"""Study a network, show invariances in the browser, list layers, data and configs, report on runs, share models."""

import argparse
import os
import signal
import sys

from invariances.cli import demo, export, layers, report, study, zoo
from invariances.cli.command_line import CommandParser, Parser
from invariances.cli.shipped import cp, data, ls, validate
from invariances.errors import Stopped, UserError
from invariances.utils.names import printable
from invariances.utils.signals import raise_on_signals

# A command is a module with `HELP`, one line; `EXAMPLES`; `add_arguments(parser)`; and `run(options)`.
COMMANDS = {
    "study": study,
    "demo": demo,
    "layers": layers,
    "data": data,
    "report": report,
    "zoo": zoo,
    "export": export,
    "ls": ls,
    "cp": cp,
    "validate": validate,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0, 2 after a UserError, 128 + its number after a signal."""
    try:
        options = parser().parse_args(arguments)
        with raise_on_signals():
            options.run(options)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the output has seen enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Stopped as stop:
        print(f"invariances: {stop}", file=sys.stderr)
        return stop.exit_code
    except UserError as error:
        print(printable(f"invariances: error: {error}"), file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser, with a subparser for each command."""
    top = Parser(prog="invariances", description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=CommandParser)
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
