import importlib

import pytest

from invariances.config.older.aliases import ALIASES


@pytest.mark.parametrize("path", sorted(set(ALIASES.values())))
def test_every_alias_names_a_class(path):
    module, _, name = path.rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name), type)


def test_no_alias_hides_a_class_of_ours():
    assert not set(ALIASES) & set(ALIASES.values())
