"""Imports of the classes that a config names."""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from types import ModuleType
from typing import Any

from invariances.config.allowing import is_allowed, is_dotted, lies_here, require_allowed, search_here
from invariances.config.older.aliases import OLD
from invariances.errors import UserError
from invariances.utils.names import class_hint, hint, nearest

# It imports and calls whatever its own argument names, which only `GreyboxModel` and {model: …, layer: …} check.
IMPORTING = ("invariances.models.greybox", "Greybox")


def locate(path: Any, key: str, base: str | None = None) -> type:
    """The class at a dotted path, such as `invariances.models.Autoencoder`, if configs may call it.

    Modules in the current folder are found too. The module is imported, once it is known to be allowed; the class is
    not called.

    Args:
        path: dotted path.
        key: key of the path in the config, for messages.
        base: dotted path of a class that it must be a subclass of.

    Raises:
        UserError: not allowed, see `invariances.config.allowing`; no such module, no such name in it, not a class,
            abstract, not a subclass of `base`, or the module raises an error while it is imported.
    """
    if not is_dotted(path) or "." not in path:
        expected = "expected one such as package.module.Class"
        raise UserError(f"{key}: {path!r} is not a dotted class path; {expected}{class_hint(str(path))}")
    module_path, _, name = path.rpartition(".")
    search_here()
    if not is_allowed(module_path) and not _exists(module_path):
        raise UserError(f"{key}: no module named {_near(module_path, name, module_path.partition('.')[0])}")
    require_allowed(module_path, path, key)
    module = _import(module_path, name, key)
    if not hasattr(module, name):
        classes = [n for n, value in vars(module).items() if isinstance(value, type) and n[0] != "_"]
        raise UserError(f"{key}: module {module_path} has no {name}{hint(name, classes)}")
    found = getattr(module, name)
    if not isinstance(found, type):
        raise UserError(f"{key}: {path} is {_article(type(found).__name__)}; expected a class")
    if not lies_here(found.__module__):  # a module may hold classes that it has imported from elsewhere
        require_allowed(found.__module__, path, key)
    if (found.__module__, found.__qualname__) == IMPORTING:
        raise UserError(f"{key}: {path} is not called by its name; use {{model: NETWORK, layer: NAME}} in its place")
    if inspect.isabstract(found):
        raise UserError(f"{key}: {path} is abstract; expected a class that can be built")
    if base is not None and not issubclass(found, known_class(base)):
        raise UserError(f"{key}: {path} is not {_article(base)}; expected a subclass")
    return found


def known_class(path: str) -> type:
    """The class at a dotted path that stands in this package's code, not in a config."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _exists(path: str) -> bool:
    """Whether the outermost package of a module is there; nothing is imported."""
    try:
        return importlib.util.find_spec(path.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _import(path: str, name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit) as error:  # any error of a user's module; the message has its cause
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent is not None and f"{path}.".startswith(f"{absent}."):
            raise UserError(f"{key}: no module named {_near(path, name, absent)}") from error
        raise UserError(f"{key}: importing {path} failed: {_cause(error)}") from error


def _near(path: str, name: str, absent: str) -> str:
    """The name of a module that is not there, and the class or module that may be meant."""
    older = nearest(f"{path}.{name}", OLD, cutoff=0.9)
    if older:
        return f"{absent}; did you mean {older}?"
    return absent + (class_hint(f"{path}.{name}") or hint(absent, _siblings(absent)))


def _siblings(path: str) -> list[str]:
    """Modules in the package in which `path` was searched."""
    parent, dot, _ = path.rpartition(".")
    folders = getattr(sys.modules.get(parent), "__path__", []) if dot else None
    return [parent + dot + module.name for module in pkgutil.iter_modules(folders)]


def _cause(error: BaseException) -> str:
    """The first error of a chain, with its file and line."""
    while earlier := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = earlier
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    return f"{message} ({frames[-1].filename}, line {frames[-1].lineno})"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
