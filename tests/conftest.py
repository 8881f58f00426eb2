"""Settings of all tests."""

import sys
from pathlib import Path

import pytest

from invariances.config import allowing


@pytest.fixture(autouse=True)
def only_the_tests_are_allowed(monkeypatch):
    """Configs of tests may call classes of tests; what one test allows does not reach the next."""
    monkeypatch.setattr(allowing, "_given", {"tests"})


@pytest.fixture(autouse=True)
def modules_of_working_folders_are_forgotten(monkeypatch):
    """A module that a test imported from its folder is not found by the next test, which has another folder."""
    known = list(sys.path)
    monkeypatch.setattr(sys, "path", list(known))
    yield
    for folder in set(sys.path) - set(known):
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[name]
