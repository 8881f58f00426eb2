"""Settings of all tests."""

import pytest

from invariances.config import allowing


@pytest.fixture(autouse=True)
def only_the_tests_are_allowed(monkeypatch):
    """Configs of tests may call classes of tests; what one test allows does not reach the next."""
    monkeypatch.setattr(allowing, "_given", {"tests"})
