"""Finding the classes that a config names."""

import importlib
import os
import pkgutil
import sys
import traceback
from types import ModuleType
from typing import Any

from invariances.config.aliases import ALIASES
from invariances.errors import UserError
from invariances.utils.names import hint, nearest


def locate(path: Any, key: str, base: str | None = None) -> type:
    """The class at a dotted path, such as `invariances.models.Autoencoder`.

    Modules in the current folder are found too. Importing the module is all that happens.

    Args:
        path: dotted path; names of the older projects resolve through `invariances.config.aliases.ALIASES`.
        key: where the path stands in the config, for messages.
        base: dotted path of the class that it has to be a kind of.

    Raises:
        UserError: no such module, no such name in it, not a class, not a kind of `base`, or the import failed
            inside the module.
    """
    parts = path.split(".") if isinstance(path, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UserError(f"{key}: {path!r} is no dotted class path; expected one such as package.module.Class")
    module_path, _, name = ALIASES.get(path, path).rpartition(".")
    module = _import(module_path, name, key)
    if not hasattr(module, name):
        classes = [n for n, value in vars(module).items() if isinstance(value, type) and n[0] != "_"]
        raise UserError(f"{key}: module {module_path} has no {name}{hint(name, classes)}")
    found = getattr(module, name)
    if not isinstance(found, type):
        raise UserError(f"{key}: {path} is {_article(type(found).__name__)}; expected a class")
    if base is not None and not issubclass(found, locate(base, key)):
        raise UserError(f"{key}: {path} is not {_article(base)}; expected a class that is one")
    return found


def _import(path: str, name: str, key: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a file here never stands in for an installed module
    importlib.invalidate_caches()
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit) as error:  # a user's module may raise anything; the cause is told below
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent is not None and f"{path}.".startswith(f"{absent}."):
            older = nearest(f"{path}.{name}", ALIASES, cutoff=0.9)
            near = f"; did you mean {older}?" if older else hint(absent, _siblings(absent))
            raise UserError(f"{key}: no module named {absent}{near}") from error
        raise UserError(f"{key}: importing {path} failed: {_cause(error)}") from error


def _siblings(path: str) -> list[str]:
    """Modules that stand where `path` was looked for."""
    parent, dot, _ = path.rpartition(".")
    places = getattr(sys.modules.get(parent), "__path__", []) if dot else None
    return [parent + dot + module.name for module in pkgutil.iter_modules(places)]


def _cause(error: BaseException) -> str:
    """The first error of a chain, with the file and line it comes from."""
    while earlier := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = earlier
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    return f"{message} ({frames[-1].filename}, line {frames[-1].lineno})"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
