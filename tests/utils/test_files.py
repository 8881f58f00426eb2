import os
import subprocess
import sys
import time

import pooch
import pytest

from invariances.utils.files import atomic_write, cache_root, data_root, locked, read_bytes, read_lines


def test_an_argument_wins_over_the_environment_over_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))
    assert data_root("elsewhere").name == "elsewhere"
    assert data_root() == tmp_path
    monkeypatch.setenv("INVARIANCES_DATA", "")
    assert data_root() == pooch.os_cache("invariances")


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("INVARIANCES_DATA", "~/data")
    assert data_root().is_absolute()


def test_the_cache_is_in_the_data_folder_unless_that_is_read_only(monkeypatch, tmp_path):
    assert cache_root(tmp_path / "new") == tmp_path / "new" / "cache"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert cache_root(tmp_path) == pooch.os_cache("invariances") / "cache"


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_root_that_is_no_folder_is_refused(monkeypatch, tmp_path, name):
    (tmp_path / "file").touch()
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path / name))
    with pytest.raises(ValueError, match=f"{tmp_path / name} cannot be used: Not a directory. Set INVARIANCES_DATA"):
        data_root()


def test_a_path_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    def refused(self, **arguments):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refused)
    with (
        pytest.raises(ValueError, match=f"{tmp_path}/new/x cannot be written: Permission denied. Set INVARIANCES_DATA"),
        locked(tmp_path / "new" / "x"),
    ):
        pass


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(ValueError, match=f"{tmp_path / 'x'} is no regular file"):
        read_bytes(tmp_path / "x")


def test_lines_of_anything(tmp_path):
    (tmp_path / "x").write_bytes(b"a\n\xff b\n")
    assert read_lines(tmp_path / "x") == ["a", "\ufffd b"]
    with pytest.raises(ValueError, match=f"{tmp_path / 'y'} cannot be read: No such file"):
        read_lines(tmp_path / "y")


def test_an_atomic_write_is_all_or_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with atomic_write(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_lock_is_free_again_when_its_holder_is_killed(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path; from invariances.utils.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, tmp_path / "x"], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    start = time.monotonic()
    with locked(tmp_path / "x"):
        assert time.monotonic() - start < 5
