"""The plan of the package: which folder may import which, and how large a folder may grow."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "invariances"
# From the ground up: a folder imports only from those in earlier rows. Folders of one row do not know each other.
FLOORS = [
    {"errors"},
    {"utils"},
    {"data", "flows"},
    {"models"},
    {"losses"},
    {"iterators", "evaluation"},
    {"analysis"},
    {"config"},
    {"zoo"},
    {"training"},
    {"studies"},
    {"demo"},
    {"cli"},
]
MODULES = sorted(PACKAGE.rglob("*.py"))


def folder_of(module: str) -> str:
    """`invariances.data.cache` -> `data`."""
    return module.split(".")[1]


def imported(path: Path) -> set[str]:
    """Modules of this package that a file imports, also inside of functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {module for module in found if module.startswith("invariances.")}


def floor(folder: str) -> int:
    return next(number for number, folders in enumerate(FLOORS) if folder in folders)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own == "__init__":
        return
    for module in imported(path):
        other = folder_of(module)
        assert other == own or floor(other) < floor(own), f"{path.name} imports {module}"


def test_no_module_is_loose():
    assert {path.name for path in PACKAGE.glob("*.py")} <= {"__init__.py", "errors.py", "demo_visualization.py"}


def test_no_folder_has_more_than_14_files():
    folders = {path.parent for path in MODULES}
    assert {str(f): len(list(f.glob("*.*"))) for f in folders if len(list(f.glob("*.*"))) > 14} == {}


def test_no_two_modules_share_a_name_across_folders_for_two_things():
    # the package faces, and the facets of one task in models, losses, iterators
    shared = {"__init__", "base", "autoencoder", "classifier"}
    names = [path.stem for path in MODULES if path.stem not in shared]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_evaluations_name_what_they_need_of_a_task():
    nodes = [node for path in (PACKAGE / "evaluation").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    tasks = [node.annotation for node in nodes if isinstance(node, ast.arg) and node.arg == "iterator"]
    assert tasks and not any(task is None or ast.unparse(task) == "Any" for task in tasks)
