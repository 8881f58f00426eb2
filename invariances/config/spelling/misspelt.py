"""Names in a config that its classes do not have."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from invariances.config.keys import KEYS
from invariances.config.nodes import class_and_arguments
from invariances.config.older.translating import names_old
from invariances.config.parts import PARTS, arguments_section
from invariances.config.reading import merged
from invariances.config.spelling.source import argument_names
from invariances.errors import UserError
from invariances.utils.names import hint

PART = "part"  # argument of all data sets


def refuse_misspelt(files: list[str | Path], overrides: Mapping[str, str]) -> None:
    """Refuse files and overrides with names that cannot be right.

    Args:
        files: YAML files, merged left to right.
        overrides: `Section/key` -> YAML text.

    Raises:
        UserError: a file cannot be read; all misspelt names, one a line.
    """
    config = merged(files, overrides)
    if names_old(config):  # of an older project: translated later
        return
    found = [*_top_level(config), *_sections(config), *_datasets(config)]
    if found:
        many = [f"{len(found)} unknown names in the config"] if len(found) > 1 else []
        raise UserError("\n  ".join([*many, *found]))


def _top_level(config: Mapping[str, Any]) -> Iterator[str]:
    accepted = _names(config.get("iterator"))
    if accepted is None:
        return
    sections = {"Model", "Transformer", "Loss", *(part.section for part in PARTS.values())}
    known = {*KEYS, *(accepted - PARTS.keys()), *sections}
    for name in config:
        if name not in known:
            yield f"{name}: unknown key{hint(name, known) or '; edflow --help lists the keys of a run'}"


def _sections(config: Mapping[str, Any]) -> Iterator[str]:
    for name in ("model", "loss"):
        section = arguments_section(config, name)
        yield from _unknown(config.get(name), config.get(section), section)


def _datasets(config: Mapping[str, Any]) -> Iterator[str]:
    splits = config.get("datasets")
    for split, spec in splits.items() if isinstance(splits, Mapping) else ():
        path, arguments = class_and_arguments(spec)
        yield from _unknown(path, arguments, f"datasets/{split}", also=(PART,))


def _unknown(path: Any, arguments: Any, section: str, also: tuple[str, ...] = ()) -> Iterator[str]:
    names = _names(path)
    if names is None or not isinstance(arguments, Mapping):
        return
    known = names | {*also}
    for name in arguments:
        if name not in known:
            yield f"{section}/{name}: unknown argument of {path.rpartition('.')[2]}{hint(name, known)}"


def _names(path: Any) -> frozenset[str] | None:
    return argument_names(path) if isinstance(path, str) else None
