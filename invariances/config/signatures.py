"""Compare the arguments of a section with the signature of a constructor."""

import inspect
import json
import os
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from invariances.config.nodes import is_network, is_network_type
from invariances.errors import UserError
from invariances.utils.names import hint

_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_EXACT = {int: (int,), float: (int, float), bool: (bool,), type(None): (type(None),)}
_FRAMEWORK = ("torch", "pytorch_lightning", "lightning", "lightning_fabric")
_FOUND = {str: "text", list: "a list", dict: "a mapping", float: "a number with a decimal point"}


def parameters(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters of a constructor by name, and whether it accepts any other name.

    A constructor with `**kwargs` is taken to pass them to its base class, whose parameters are added. If the last
    one outside of torch and Lightning still has `**kwargs`, any name is accepted.
    """
    found: dict[str, inspect.Parameter] = {}
    constructors = [
        vars(base)["__init__"]
        for base in cls.__mro__[:-1]
        if "__init__" in vars(base) and (base is cls or base.__module__.split(".")[0] not in _FRAMEWORK)
    ]
    for constructor in constructors:
        own = _signature(constructor)
        found = {p.name: p for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} | found
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            return found, False
    return found, bool(constructors)


def _signature(function: Any) -> list[inspect.Parameter]:
    """Parameters without `self`; annotations that cannot be resolved are left out."""
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # a name imported for type checking alone
        hints = {}
    listed = list(inspect.signature(function).parameters.values())[1:]
    return [p.replace(annotation=hints.get(p.name, p.empty)) for p in listed]


def mistakes(cls: type, arguments: Any, section: str, given: Collection[str] = ()) -> Iterator[str]:
    """The mistakes in a constructor's arguments: unknown, missing, of the wrong type.

    Args:
        cls: the class.
        arguments: the section of the config; expected a mapping.
        section: its name, for messages; empty at the top level.
        given: parameters that the caller passes, and that the section must not have.
    """
    if not isinstance(arguments, Mapping):
        yield f"{section}: {show(arguments)}; expected a mapping, the arguments of {cls.__name__}"
        return
    takes, anything = parameters(cls)
    prefix = f"{section}/" if section else ""
    free = {name: p for name, p in takes.items() if name not in given}
    for name, value in arguments.items():
        if name in free and not fits(value, free[name].annotation):
            yield f"{prefix}{name}: {show(value)}; expected {describe(free[name].annotation)}"
        elif name not in free and (name in given or not anything):
            yield f"{prefix}{name}: unknown argument of {cls.__name__}{hint(name, free)}"
    for name, parameter in free.items():
        if parameter.default is parameter.empty and name not in arguments:
            expected = describe(parameter.annotation)
            yield f"{prefix}{name}: missing; {cls.__name__} needs it" + (f", {expected}" if expected else "")


def find_and_bind(find: Callable[[], type], arguments: Any, section: str) -> Iterator[str]:
    """The reason why a class cannot be found, or else the mistakes in its arguments (null: no arguments)."""
    try:
        cls = find()
    except UserError as error:
        yield str(error)
        return
    yield from mistakes(cls, {} if arguments is None else arguments, section)


def make(cls: type, arguments: Mapping[str, Any], section: str) -> Any:
    """Call a constructor with the arguments of a section, cast to the annotated types.

    Raises:
        UserError: the constructor refuses them; see `prefix_errors`.
    """
    with prefix_errors(section, ValueError, OSError, RuntimeError, MemoryError, ArithmeticError):
        return call(cls, arguments)


def call(cls: type, arguments: Mapping[str, Any]) -> Any:
    """Call a constructor with arguments cast to the annotated types."""
    accepted, _ = parameters(cls)
    kinds = {name: parameter.annotation for name, parameter in accepted.items()}
    return cls(**{name: cast(value, kinds.get(name)) for name, value in arguments.items()})


@contextmanager
def prefix_errors(section: str, *refusals: type[Exception]) -> Iterator[None]:
    """Turn the errors by which code refuses a section's arguments into a UserError with the section's name.

    A constructor refuses arguments by a ValueError, or by the OSError of a file that they name; torch's layers by a
    RuntimeError, and numbers that are too large by a MemoryError. Code that runs networks or reads examples refuses
    them only by InvalidInput. Errors of other types are bugs, and keep their type and traceback, as does a GPU that is
    out of memory.

    Args:
        section: key of the config.
        *refusals: types of the errors.

    Raises:
        UserError: in place of one of the refusals.
    """
    try:
        yield
    except refusals as error:
        import torch  # takes seconds, and is not needed otherwise

        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{section}: {reason}") from error


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value read from YAML fits a type annotation.

    An int fits float; a bool fits neither; a list fits a tuple; a description of a network fits nn.Module, see
    `invariances.config.nodes`.
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in inner)
    if annotation in _EXACT:
        return type(value) in _EXACT[annotation]
    kind = origin or annotation
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True  # left to the constructor
    if issubclass(kind, os.PathLike):
        return isinstance(value, str)
    if is_network_type(kind):
        return is_network(value)
    if isinstance(value, str):  # a str is a Sequence, but a list is expected there
        return kind in (str, object)
    if issubclass(kind, tuple):
        return isinstance(value, list) and _tuple_fits(value, inner)
    return isinstance(value, kind) and _inside_fits(value, inner)


def cast(value: Any, annotation: Any) -> Any:
    """Convert a fitting value to the annotated type: int to float, list to tuple, str to Path."""
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    kinds = {get_origin(option) or option for option in options}
    conversions: list[tuple[type, Any]] = [(int, float), (list, tuple), (str, Path)]
    for given, expected in conversions:
        if type(value) is given and expected in kinds and given not in kinds:
            return expected(value)
    return value


def _tuple_fits(value: list[Any], inner: tuple[Any, ...]) -> bool:
    if len(inner) == 2 and inner[1] is Ellipsis:
        return _inside_fits(value, inner[:1])
    return not inner or (len(value) == len(inner) and all(map(fits, value, inner)))


def _inside_fits(value: Any, inner: tuple[Any, ...]) -> bool:
    """Whether the items of a list, or the keys and values of a mapping, fit their annotations."""
    if isinstance(value, list) and len(inner) == 1:
        return all(fits(item, inner[0]) for item in value)
    if isinstance(value, dict) and len(inner) == 2:
        return all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    return True


def describe(annotation: Any) -> str:
    """An annotation in words, such as `a whole number or null`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty):
        return ""
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(option) for option in inner))
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if annotation is type(None):
        return "null"
    kind = origin or annotation
    if not isinstance(kind, type) or kind in _EXPECTED:
        return _EXPECTED.get(kind, str(kind))
    if issubclass(kind, os.PathLike):
        return "a path"
    if is_network_type(kind):
        return "a network as {checkpoint: …}, or {model: …, layer: …}"
    if issubclass(kind, Mapping):
        return "a mapping"
    if issubclass(kind, Collection):
        return "a list" + (f" of {_plural(describe(inner[0]))}" if inner else "")
    return kind.__name__


def _plural(words: str) -> str:
    return words.removeprefix("a ") + "s" if words.endswith("number") else words


def show(value: Any) -> str:
    """A value and its type for messages, such as `25.0 is a number with a decimal point`."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    kind = _FOUND.get(type(value))
    return f"{text} is {kind}" if kind else f"got {text}"
