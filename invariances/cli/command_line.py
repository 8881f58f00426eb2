"""Parts of the commands: a parser that raises UserError, overrides `--key VALUE`."""

import argparse
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, NoReturn

from invariances.errors import UserError
from invariances.utils.names import nearest

log = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises a UserError where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        """Raise a UserError with argparse's message."""
        raise UserError(f"{message}; see {self.prog} --help")


class CommandParser(Parser):
    """A parser that refuses what it does not know itself, by the name of its command.

    argparse leaves that to the parser of all commands, which does not know the flags of any; and it tells a flag that
    is missing before the one that is misspelt.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and leave nothing over."""
        if not any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in self._actions):
            self._refuse_flags(args or ())  # else they may belong to an action of the command, or to a config
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"{unknown[0]}: unexpected argument")
        return options, unknown

    def _refuse_flags(self, words: Iterable[str]) -> None:
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
            if flag not in ("--", *known):
                near = nearest(flag, known)
                self.error(f"{flag}: no such flag{f'; did you mean {near}?' if near else ''}")


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
