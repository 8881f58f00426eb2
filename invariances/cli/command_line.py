"""Parts of the commands: a parser that raises UserError, overrides `--key VALUE`."""

import argparse
import logging
from collections.abc import Callable, Collection
from typing import NoReturn

from invariances.errors import UserError

log = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises a UserError where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        """Raise a UserError with argparse's message."""
        raise UserError(f"{message}; see {self.prog} --help")


def split_overrides(
    words: list[str], flags: Collection[str], check: Callable[[str, str | None], str]
) -> tuple[list[str], dict[str, str]]:
    """Separate overrides `--key VALUE` and `--key=VALUE` from all other words; of repeated keys the last one counts.

    Args:
        words: the command line.
        flags: known flags; like every word that does not begin with -- they are left to the parser.
        check: (key, next word or None) -> the value of an override without =; may raise a UserError.

    >>> split_overrides(["-t", "--seed", "3", "--a/b=1"], ["-t"], lambda key, word: word)
    (['-t'], {'seed': '3', 'a/b': '1'})
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    remaining = iter(words)
    for word in remaining:
        key, equals, value = word.partition("=")
        if not key.startswith("--") or key in flags:
            rest.append(word)
        elif equals and not value:
            raise UserError(f"{word}: has no value; use {key}=null to switch it off")
        else:
            if key[2:] in overrides:
                log.warning("%s: is given twice; the last one counts", key)
            overrides[key[2:]] = value if equals else check(key, next(remaining, None))
    return rest, overrides
