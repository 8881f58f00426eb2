"""Messages about unknown names: the nearest name that is known."""

import difflib
import re
from collections.abc import Collection, Iterable
from typing import Any

FEW = 12  # names that a message can list in full


def nearest(name: Any, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like `name`, if any is near: 1 is equal, 0 has no letter in common.

    >>> nearest("Conv1", ["conv1", "logits"])
    'conv1'
    """
    exact = sorted(set(known))
    folded = {other.lower(): other for other in exact}
    if close := difflib.get_close_matches(str(name), exact, n=1, cutoff=cutoff):
        return close[0]
    close = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else None


def hint(name: Any, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of a few.

    >>> hint("batchsize", ["batch_size", "seed"])
    '; did you mean batch_size?'
    """
    if near := nearest(name, known):
        return f"; did you mean {near}?"
    return f"; known: {', '.join(map(str, known))}" if 0 < len(known) <= FEW else ""


def class_hint(path: str) -> str:
    """The end of a message about a class that is named by its file.

    >>> class_hint("models/my_nets.py:Net"), class_hint("my_nets.Net")
    ('; did you mean models.my_nets.Net?', '')
    """
    dotted = re.sub(r"\.py(?=[:.])", "", path).removeprefix("./").replace("/", ".").replace(":", ".")
    return f"; did you mean {dotted}?" if re.search(r"\.py[:.]", path) else ""


def printable(text: str) -> str:
    r"""Text without characters that command a terminal; lines and tabs stay.

    >>> printable("a\x1b[2Jb\n")
    'a\\x1b[2Jb\n'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
