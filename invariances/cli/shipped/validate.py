"""Check configs as `edflow -b` does, without starting: keys, classes, arguments and values, all mistakes at once."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invariances.cli.command_line import split_overrides
from invariances.errors import UserError

HELP = "check configs without starting"
EXAMPLES = """\
  invariances validate configs/digits/clf.yaml
  invariances validate configs/digits/cinn.yaml my_layer.yaml --batch_size 100
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files and overrides, which are parsed as those of `edflow`."""
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME", help="package whose classes configs may call"
    )
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="FILE ... [--Section/key VALUE ...]",
        help="config files, merged left to right, and overrides",
    )


def run(options: argparse.Namespace) -> None:
    """Print that the config is valid, and which checkpoints it still needs.

    Raises:
        UserError: lists all mistakes.
    """
    from invariances.config.checking import check
    from invariances.config.reading import read
    from invariances.training.start import remember_own
    from invariances.utils.shipped_configs import find_config

    words, overrides = split_overrides(options.words, (), _value_after)
    if not words:
        raise UserError("no config to check; name one or more files")
    files = [find_config(word) for word in words]
    remember_own(files, overrides, options.allow)
    config = read(files, overrides)
    check(config, train=config.get("test_mode") is not True)
    print(f"{' '.join(words)}: valid")
    for line in _missing(config):
        print(f"not there yet: {line}")


def _value_after(key: str, word: str | None) -> str:
    if word is None or word.startswith("--"):
        raise UserError(f"{key}: has no value; use {key} VALUE")
    return word


def _missing(config: Mapping[str, Any]) -> list[str]:
    """The checkpoints that the config names and that cannot be found, each with what to do."""
    from invariances.config.resolving import resolve_checkpoints
    from invariances.training.run import LATEST, Run

    missing = []

    def find(text: str) -> Path:
        try:
            if text.startswith(LATEST):
                Run.find(text)
        except UserError as error:
            missing.append(str(error))
        return Path(text)

    resolve_checkpoints(config, find)
    return missing
