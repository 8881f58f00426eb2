import os
import sys
from types import SimpleNamespace

import pytest

from invariances.utils import process_settings
from invariances.utils.process_settings import keep_freed_memory, n_idle_cpus, set_up_process


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


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of four processors, of which this process may use two, without settings of threads."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that the end of the test restores it
        monkeypatch.delenv(name)
    monkeypatch.setattr(process_settings.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(process_settings, "n_cpus", lambda: 2)
    monkeypatch.setattr(process_settings, "PROCESSES", tmp_path / "stat")
    return tmp_path / "stat"


def waiting():
    return {name: value for name, value in os.environ.items() if name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}


@pytest.mark.parametrize(
    ("running", "n_idle", "expected"),
    [
        (1, 4, {"GOMP_SPINCOUNT": "3000"}),  # this process alone
        (3, 2, {"GOMP_SPINCOUNT": "3000"}),  # two processors are left
        (4, 1, {"OMP_WAIT_POLICY": "passive"}),
        (9, 0, {"OMP_WAIT_POLICY": "passive"}),
    ],
)
def test_waiting_threads_sleep_where_others_need_the_processors(calls, machine, running, n_idle, expected):
    machine.write_text(f"cpu  1 2 3 4\nbtime 5\nprocs_running {running}\nprocs_blocked 0\n")
    assert n_idle_cpus() == n_idle
    set_up_process()
    assert waiting() == expected


@pytest.mark.parametrize(
    ("n_threads", "expected"),
    [("1", "GOMP_SPINCOUNT"), ("3", "OMP_WAIT_POLICY"), ("0", "GOMP_SPINCOUNT")],  # 0 is no number of threads
)
def test_as_many_processors_must_idle_as_there_are_threads(calls, machine, monkeypatch, n_threads, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    machine.write_text("procs_running 3\n")  # two others
    set_up_process()
    assert list(waiting()) == [expected]


@pytest.mark.parametrize("text", [None, "", "procs_running many\n"])
def test_waiting_threads_sleep_where_the_load_is_not_known(calls, machine, text):
    if text is not None:
        machine.write_text(text)
    set_up_process()
    assert waiting() == {"OMP_WAIT_POLICY": "passive"}


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}])
def test_what_the_user_says_of_waiting_threads_counts(calls, machine, monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    set_up_process()
    assert waiting() == given


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_the_load_of_this_machine_is_counted():
    assert "procs_running" in process_settings.PROCESSES.read_text()
    assert 0 <= n_idle_cpus() <= os.cpu_count()
