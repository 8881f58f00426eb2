"""What the command lines have in common: parsers whose mistakes are one line, and overrides `--key VALUE`."""

import argparse
from collections.abc import Callable, Collection
from typing import NoReturn

from invariances.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser that raises a UserError in place of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise UserError(f"{message}; see {self.prog} --help")


def split_overrides(
    words: list[str], flags: Collection[str], check: Callable[[str, str | None], str]
) -> tuple[list[str], dict[str, str]]:
    """Flags and their values on one side; overrides `--key VALUE` and `--key=VALUE` on the other, the last one counts.

    Args:
        words: of the command line.
        flags: known ones; they and every word that does not begin with -- are left to the parser.
        check: (key, the next word or None) -> the value of an override without =, or a UserError.

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
            raise UserError(f"{word}: has no value; to switch it off use {key}=null")
        else:
            overrides[key[2:]] = value if equals else check(key, next(remaining, None))
    return rest, overrides
