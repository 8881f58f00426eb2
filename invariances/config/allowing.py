"""What a config may call, and where it may make data sets write.

A config, a run folder and a checkpoint may come from a stranger. They may call the classes of this package and the
layers of torch.nn; all else needs the word of the user, which never stands in the file that is judged:

- `--allow NAME` on the command line, for a package or module;
- modules that lie in the working folder and are named by a `-b` file or an override are the user's own.

Both are remembered in `.invariances.yaml` of the working folder, so that one's own runs resume without a further word.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml

from invariances.config.older.aliases import ALIASES
from invariances.errors import UserError
from invariances.utils.files import atomic_write, cache_root, data_root, read_bytes

log = logging.getLogger(__name__)

SETTINGS = Path(".invariances.yaml")
HEAD = "# What configs may use here besides invariances and torch.nn. It holds in this folder only.\n"
OURS = "invariances"
LAYERS = "torch.nn.modules"
CLASS_KEYS = ("model", "loss", "iterator", "class", "train", "validation")
PLACES = ("root", "pre_calc_stat_path")  # keys of paths that are written to
MOST_BYTES = 100_000  # of the settings file

_given: set[str] = set()  # allowed in this process
_judged: ContextVar[tuple[str, ...]] = ContextVar("judged", default=())  # the files that the config comes from


def allow(*names: str) -> None:
    """Allow packages or modules in this process.

    Raises:
        UserError: a name is not a dotted name such as `my_package.models`.
    """
    for name in names:
        if not is_dotted(name):
            raise UserError(f"--allow {name}: expected the name of a package or module, such as my_package")
    _given.update(names)


def allowed_names() -> list[str]:
    """What the user has allowed, for a process that this one starts."""
    return sorted({*_given, *_remembered("allow")})


def is_dotted(text: Any) -> bool:
    """Whether a value is text like `package.module.Class`."""
    return isinstance(text, str) and all(part.isidentifier() for part in text.split("."))


@contextmanager
def judging(*files: str | Path) -> Iterator[None]:
    """Name the files that a config comes from, for the message of a refusal; without files, as it was before."""
    token = _judged.set(tuple(map(str, files)) or _judged.get())
    try:
        yield
    finally:
        _judged.reset(token)


def is_allowed(module: str) -> bool:
    """Whether classes of a module may be called.

    >>> is_allowed("invariances.models"), is_allowed("torch.nn"), is_allowed("torch.hub")
    (True, True, False)
    """
    names = {OURS, LAYERS, *allowed_names()}
    return module == "torch.nn" or any(f"{module}.".startswith(f"{name}.") for name in names)


def require_allowed(module: str, path: str, key: str) -> None:
    """Refuse a class of a module that is not allowed; nothing is imported.

    Args:
        module: in which the class is looked for, or is defined.
        path: of the class, as the config has it.
        key: of the path in the config.

    Raises:
        UserError: names the class, the key, the file, and the flag that allows it.
    """
    if not is_allowed(module):
        package = module if lies_here(module) else module.partition(".")[0]
        source = f" (in {_source(path)})" if _judged.get() else ""
        raise UserError(
            f"{key}: {path}{source} belongs to neither invariances nor torch.nn, so it is not called; if you trust "
            f"{package} with the arguments in this config, add --allow {package}"
        )


def _source(path: str) -> str:
    """The file that names a class, or all files if it cannot be told."""
    for file in _judged.get():
        with suppress(OSError, UnicodeDecodeError):
            if len(_judged.get()) > 1 and path in Path(file).read_text(encoding="utf-8"):
                return file
    return ", ".join(_judged.get())


def search_here() -> None:
    """Let imports find the modules of the working folder, after installed ones."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a file here never hides an installed module
    importlib.invalidate_caches()


def lies_here(module: str) -> bool:
    """Whether a module lies in the working folder, outside of run folders; it need not exist.

    Nothing is imported. Installed packages are found first, so that a file here never hides one.
    """
    search_here()
    here, top = Path.cwd(), module.partition(".")[0]
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(top)
        if spec is None or top == "logs":
            return False
        file = [spec.origin] if spec.has_location and spec.origin else []  # that of a built-in module is no path
        places = [*(spec.submodule_search_locations or file)]
        return any(Path(place).resolve().parent == here.resolve() for place in places)
    return False


def modules_here(config: Mapping[str, Any]) -> set[str]:
    """The modules in the working folder that a config names classes of; they are the user's own."""
    return {module for module in modules_typed(config) if lies_here(module)}


def modules_typed(value: Any, key: str = "") -> set[str]:
    """The modules, besides those that are allowed to all, that a config names classes of.

    >>> sorted(modules_typed({"model": "mine.Net", "loss": "invariances.losses.AutoencoderLoss", "notes": "a.b"}))
    ['mine']
    """
    if isinstance(value, Mapping):
        return set().union(*(modules_typed(item, str(name)) for name, item in value.items()))
    if key not in CLASS_KEYS or not is_dotted(value) or "." not in value:
        return set()
    module = ALIASES.get(value, value).rpartition(".")[0]
    return set() if is_allowed(module) else {module}


def folders_typed(overrides: Mapping[str, str]) -> list[str]:
    """The values of overrides such as `--datasets/train/root FOLDER`, which name places to write to."""
    return [text for key, text in overrides.items() if key.rpartition("/")[2] in PLACES]


def remember(names: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Allow names, and writing to folders, in this process and in later ones of this working folder."""
    names, folders = set(names), {str(Path(folder).expanduser().absolute()) for folder in folders}
    allow(*names)
    known = {key: set(_remembered(key)) for key in ("allow", "write")}
    if names <= known["allow"] and folders <= known["write"]:
        return
    settings = {**_place(), "allow": sorted(names | known["allow"])}
    settings["write"] = sorted(folders | known["write"])
    try:
        with atomic_write(SETTINGS.absolute()) as part:
            part.write_text(HEAD + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        log.warning("%s: cannot be written (%s); later runs need --allow again", SETTINGS, error.strerror)


def _remembered(key: str) -> list[str]:
    """The names under a key of the settings file; none if it was written in another folder, as by a stranger."""
    try:
        if not SETTINGS.exists():
            return []
        settings = yaml.safe_load(read_bytes(SETTINGS, MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        log.warning("%s: cannot be read (%s); it allows nothing", SETTINGS, type(error).__name__)
        return []
    values = settings.get(key) if isinstance(settings, dict) else None
    if not isinstance(values, list) or {name: settings.get(name) for name in _place()} != _place():
        return []
    return [value for value in values if isinstance(value, str)]


def _place() -> dict[str, Any]:
    """The working folder: its path, which a stranger may guess, and its number on the disk, which is new each time."""
    return {"folder": str(Path.cwd()), "inode": os.stat(".").st_ino}


def may_write(path: str | Path) -> bool:
    """Whether a config may make this package write to a path: in the data folder, its cache, or by the user's word.

    >>> may_write(data_root() / "mnist"), may_write("/etc")
    (True, False)
    """
    target = Path(path).expanduser().resolve()
    folders: list[str | Path] = [data_root(), cache_root(), *_remembered("write")]
    return any(target.is_relative_to(Path(folder).resolve()) for folder in folders)
