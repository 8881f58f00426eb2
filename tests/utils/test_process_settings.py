import os
from types import SimpleNamespace

import pytest

from invariances.utils import process_settings
from invariances.utils.process_settings import keep_freed_memory, set_up_process


@pytest.fixture
def calls(monkeypatch):
    """What glibc is told."""
    told = []
    glibc = SimpleNamespace(mallopt=lambda *setting: told.append(setting) or 1)
    monkeypatch.setattr(process_settings.ctypes, "CDLL", lambda name: glibc)
    monkeypatch.setattr(process_settings.platform, "libc_ver", lambda: ("glibc", "2.36"))
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    return told


def test_freed_memory_is_kept(calls):
    assert keep_freed_memory()
    assert calls == [(-3, 33554432), (-1, 2147483647), (-2, 67108864)]  # numbers of malloc.h


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_ARENA_MAX", "1"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")]
)
def test_an_allocator_that_the_user_configures_is_left_alone(calls, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not keep_freed_memory() and calls == []


def test_other_c_libraries_are_left_alone(calls, monkeypatch):
    monkeypatch.setattr(process_settings.platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory() and calls == []


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(calls, monkeypatch, given, expected):
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that the end of the test restores it
    monkeypatch.delenv("OMP_WAIT_POLICY")
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    set_up_process()
    assert os.environ["OMP_WAIT_POLICY"] == expected
