"""Read YAML files and overrides from the command line into one plain dict."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from invariances.config.keys import PAIRS
from invariances.config.older.translating import translate
from invariances.errors import UserError
from invariances.utils.names import nearest
from invariances.utils.shipped_configs import config_files

_CORE = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
_LOOSE = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp", "value")}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$|0o[0-7]+$|0x[0-9a-fA-F]+$")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$"
    r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"
    r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
MOST_VALUES, MOST_BYTES = 100_000, 10**7  # in one file


class _Loader(yaml.SafeLoader):
    """A safe loader with the numbers of YAML 1.2: 1e-4 is a number; 010, 1:30 and dates are text."""

    yaml_constructors = {  # noqa: RUF012 (the base class's own attribute)
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _CORE
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [rule for rule in rules if rule[0] not in _LOOSE]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias inside the node that it refers to."""
        mark = self.peek_event().start_mark
        node: Any = super().compose_node(parent, index)
        if node.end_mark is None:
            raise yaml.MarkedYAMLError(problem="the alias is inside the node that it refers to", problem_mark=mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a repeated key; PyYAML would silently keep the last one."""
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            first = seen.setdefault((key.tag, str(key.value)), key)
            if first is not key:
                lines = f"lines {first.start_mark.line + 1} and {key.start_mark.line + 1}"
                problem = f"{key.value} is given twice, on {lines}; keep one of them"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes text which this loader, or one for YAML 1.1, would read as another type."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: _Loader.yaml_implicit_resolvers.get(first, []) + rules
        for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write shared blocks out in full."""
        return True


def dump(config: Mapping[str, Any]) -> str:
    """The config as YAML text that `parse` returns unchanged."""
    return yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def parse(text: str, name: str) -> Any:
    """The value of a YAML text.

    Args:
        text: one YAML document.
        name: source of the text, for messages: a file, or `--Section/key`.

    Raises:
        UserError: `name:line:column: one sentence`.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise UserError(f"{position}: {_sentence(error)}") from error
    except yaml.reader.ReaderError as error:
        position = _line_and_column(text, error.position)
        character = repr(chr(error.character))
        raise UserError(f"{name}:{position}: the character {character} is not allowed in YAML") from error
    except RecursionError as error:
        raise UserError(f"{name}: the blocks are nested too deeply") from error
    except (ValueError, KeyError, IndexError, OverflowError) as error:  # of a tag, such as !!int abc
        raise UserError(f"{name}: a value does not fit the tag (!!…) before it ({error}); leave the tag out") from error
    if _n_values(value, {}) > MOST_VALUES:
        raise UserError(f"{name}: holds more than {MOST_VALUES:,} values with its aliases (*…) expanded")
    return value


def _n_values(value: Any, known: dict[int, int]) -> int:
    """Number of values with aliases expanded, as a saved config has them."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        items = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_n_values(item, known) for item in items)
    return known[id(value)]


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "is not YAML"
    if "'\\t'" in problem:
        return "a tab where YAML allows only spaces; indent with spaces"
    return problem


def _line_and_column(text: str, position: int) -> str:
    before = text[:position]
    return f"{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"


def read_file(path: str | Path) -> dict[str, Any]:
    """One YAML file as a dict.

    Raises:
        UserError: no such file, a folder, not UTF-8, not YAML, empty, or no `key: value` at the top level.
    """
    config = parse(_text(Path(path)), str(path))
    if config is None:
        raise UserError(f"{path}:1:1: the file is empty; expected lines such as `batch_size: 25`")
    if not isinstance(config, dict):
        kind = "a list" if isinstance(config, list) else f"the single value {config!r}"
        raise UserError(f"{path}:1:1: holds {kind} at the top level; expected lines such as `batch_size: 25`")
    return config


def _text(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a YAML file in it")
    try:
        with path.open("rb") as file:  # a pipe, as of <(command), has no size before it is read
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file{_nearest_file(path)}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MOST_BYTES:
        raise UserError(f"{path}: has more than {MOST_BYTES:,} bytes; name a YAML file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise UserError(f"{path}:{line}:{column}: is not UTF-8 text; save the file as UTF-8") from error


def _nearest_file(path: Path) -> str:
    siblings = [str(path.with_name(p.name)) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    near = nearest(str(path), [*siblings, *config_files()])
    return f"; did you mean {near}?" if near else "; give the path of a YAML file, such as `invariances ls` lists"


def merge(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: mappings are joined, everything else (lists too) is replaced by the later value.

    A mapping merged into text keeps the text as its `class`: `train: a.Class` and `train: {size: 64}` merge to
    `train: {class: a.Class, size: 64}`. A mapping with another `class` replaces the earlier one, whose arguments were
    those of its own class.
    """
    merged = dict(base)
    for key, value in layer.items():
        old = merged.get(key)
        if isinstance(old, str) and isinstance(value, dict):
            old = {"class": old}
        if isinstance(old, dict) and isinstance(value, dict) and not _another_class(old, value):
            value = merge(old, value)
        merged[key] = value
    return merged


def _another_class(old: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    return "class" in old.keys() & value.keys() and old["class"] != value["class"]


def _override(path: str, text: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The layer of one override; where the config has a list, it is the whole list with one place replaced."""
    names = path.split("/")
    if not all(names):
        raise UserError(f"--{path}: an empty name between the slashes; expected --Section/key VALUE")
    return _nested(names, parse(text, f"--{path}"), config, f"--{path}")


def _nested(names: list[str], value: Any, old: Any, key: str) -> Any:
    if not names:
        return value
    name, *rest = names
    if isinstance(old, list):
        if not name.isdecimal() or int(name) >= len(old):
            raise UserError(f"{key}: {name} is no place of this list of {len(old)}; expected a number below {len(old)}")
        place = int(name)
        inner = _nested(rest, value, old[place], key)
        new = merge(old[place], inner) if isinstance(old[place], dict) and isinstance(inner, dict) else inner
        return [*old[:place], new, *old[place + 1 :]]
    return {name: _nested(rest, value, old.get(name) if isinstance(old, Mapping) else None, key)}


def read(
    paths: Iterable[str | Path],
    overrides: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The config of YAML files and overrides, see `merged`; configs of the older projects are translated."""
    return translate(merged(paths, overrides, base))


def merged(
    paths: Iterable[str | Path],
    overrides: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Merge YAML files deeply, left to right, then the overrides.

    Where a later file or override gives one of two keys for one setting (num_steps, num_epochs; learning_rate,
    base_learning_rate), the other key is dropped from the earlier ones.

    Args:
        paths: YAML files.
        overrides: `Section/key` -> YAML text of the value, such as `{"Model/n_classes": "10"}`; a number in place of a
            key is a place of a list, as in `Transformer/factor_config/0`.
        base: a config into which all of these are merged.

    Raises:
        UserError: a file or value that cannot be read.
    """
    config = dict(base or {})
    for path in paths:
        config = _laid_over(config, read_file(path))
    for key, text in (overrides or {}).items():
        config = _laid_over(config, _override(key, text, config))
    return config


def _laid_over(config: dict[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """A config merged with a later layer; of two keys for one setting, that of the layer counts."""
    for one, other in (*PAIRS, *(pair[::-1] for pair in PAIRS)):
        if layer.get(one) is not None and other not in layer:
            config = {name: value for name, value in config.items() if name != other}
    return merge(config, layer)
