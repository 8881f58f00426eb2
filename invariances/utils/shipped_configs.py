"""The configs that come with the package: commands such as `edflow -b configs/digits/clf.yaml` work in any folder."""

import logging
import os
from pathlib import Path

import invariances
from invariances.errors import UserError
from invariances.utils.names import hint

log = logging.getLogger(__name__)

ROOT = Path(invariances.__file__).parent / "configs"  # in a clone, a link to configs/ beside the package
TOP = "configs"  # first part of the paths that users type


def find_config(path: str | Path) -> Path:
    """The file itself, or where there is none the package's own of that name, which is said in one line.

    >>> find_config("configs/digits/clf.yaml").name
    'clf.yaml'
    """
    given = Path(path)
    own = ROOT.joinpath(*given.parts[1:])
    if os.path.lexists(given) or given.parts[:1] != (TOP,) or ".." in given.parts or not own.is_file():
        return given
    log.info("%s: not in this folder; the package's own is used", given)
    return own


def config_files() -> dict[str, Path]:
    """All configs by the path that users type, sorted: those below configs/ here, and the package's own.

    >>> sorted(config_files())[:2]
    ['configs/alexnet/base_eval.yaml', 'configs/alexnet/base_train.yaml']
    """
    found = {Path(TOP, path.relative_to(root)).as_posix(): path for root in (ROOT, Path(TOP)) for path in _yaml(root)}
    return dict(sorted(found.items()))


def _yaml(root: Path) -> list[Path]:
    return [path for path in root.rglob("*.yaml") if path.is_file()]


def find_shipped(name: str) -> Path:
    """A file or a folder of the package's configs.

    Args:
        name: as users type it, `configs/digits/clf.yaml` or `digits/clf`; a folder such as `digits`.

    Raises:
        UserError: there is none of that name.

    >>> find_shipped("digits/layers").is_dir(), find_shipped("digits/clf").name
    (True, 'clf.yaml')
    """
    parts = Path(name).parts[Path(name).parts[:1] == (TOP,) :]
    own = ROOT.joinpath(*parts)  # elsewhere, if the name is an absolute path
    if parts and ".." not in parts and own.is_relative_to(ROOT):
        for path in (own, own.with_name(f"{own.name}.yaml")):
            if path.exists():
                return path
    known = [title for path in _yaml(ROOT) for title in _titles(path.relative_to(ROOT))]
    raise UserError(f"{name}: no such config in the package{hint('/'.join(parts), known)}; see invariances ls")


def _titles(path: Path) -> list[str]:
    """`digits/clf.yaml` -> `digits/clf.yaml`, `digits/clf`, `digits`."""
    return [path.as_posix(), path.with_suffix("").as_posix(), *(p.as_posix() for p in path.parents if p.name)]
