"""The names of a constructor's arguments, read from the source of this package: nothing is imported."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import invariances

PACKAGE = Path(invariances.__file__).parent
INIT = "__init__"


def argument_names(path: str) -> frozenset[str] | None:
    """The names that the constructor of a class takes, or None if its source does not tell.

    A constructor with `**kwargs` is taken to pass them to its base classes, as in `invariances.config.signatures`.

    Args:
        path: dotted path of the class.

    >>> sorted(argument_names("invariances.models.DigitClassifier"))
    ['in_channels', 'n_classes', 'width']
    >>> argument_names("torch.nn.Linear") is None
    True
    """
    module, _, name = path.rpartition(".")
    found = _definition(module, name)
    return None if found is None else _names(*found)


def _definition(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """The module that defines a class, and its definition; imports from within the package are followed."""
    for node in _statements(module):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _definition(node.module, alias.name)
    return None


@cache
def _statements(module: str) -> list[ast.stmt]:
    """The statements of a module of this package; none of any other one."""
    top, *parts = module.split(".")
    stem = PACKAGE.joinpath(*parts)
    files = [stem / "__init__.py", stem.with_suffix(".py")] if top == PACKAGE.name else []
    return next((ast.parse(file.read_text(encoding="utf-8")).body for file in files if file.is_file()), [])


def _names(module: str, cls: ast.ClassDef) -> frozenset[str] | None:
    constructor = next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == INIT), None)
    if constructor is None:
        return None if cls.decorator_list else _names_of_bases(module, cls)  # a dataclass writes its own
    own = constructor.args
    names = frozenset(argument.arg for argument in [*own.args[1:], *own.kwonlyargs])
    if own.kwarg is None:
        return names
    inherited = _names_of_bases(module, cls)
    return None if inherited is None else names | inherited


def _names_of_bases(module: str, cls: ast.ClassDef) -> frozenset[str] | None:
    """The names of the first base class with a constructor that can be read."""
    return next((names for base in _base_names(cls) if (names := _of_base(module, base)) is not None), None)


def _of_base(module: str, base: str) -> frozenset[str] | None:
    found = _definition(module, base)
    return None if found is None else _names(*found)


def _base_names(cls: ast.ClassDef) -> Iterator[str]:
    """The plain names among the bases; `Base[T]` counts as `Base`."""
    for base in cls.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(plain, ast.Name):
            yield plain.id
