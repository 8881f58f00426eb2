"""`invariances zoo`: what it prints, and mistakes in one line."""

import hashlib
import subprocess
import sys

import pytest

from invariances.cli import invariances as command
from invariances.utils import download as downloads
from invariances.zoo import Entry, zoo
from tests.file_server import serving

CONTENT = b"weights" * 100_000


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES", ())
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))
    with serving(CONTENT) as server:
        md5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
        made = {"model": "invariances.models.DigitClassifier", "arguments": {"width": 4}}
        entries = [Entry("known", f"{server.url}/good", "a.ckpt", "Someone 2020", md5, **made)]
        entries += [Entry("unknown", f"{server.url}/good", "b.pth", "Someone 2020")]
        entries += [Entry("lost", f"{server.url}/missing", "c.pth", "Someone 2020", md5)]
        monkeypatch.setattr(zoo, "entries", {entry.name: entry for entry in entries})
        yield server


def out(capsys, *words):
    assert command.main(["zoo", *words]) == 0
    return capsys.readouterr().out.splitlines()


def complaint(capsys, *words):
    assert command.main(["zoo", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("invariances: error: ")
    return lines[-1]


def test_from_the_list_to_a_verified_file(server, tmp_path, capsys):
    path = f"{tmp_path}/zoo/known/a.ckpt"
    assert [line.split() for line in out(capsys, "ls")] == [
        ["name", "class", "file"],
        ["known", "DigitClassifier", "-"],
        ["unknown", "-", "-"],
        ["lost", "-", "-"],
    ]
    assert out(capsys, "path", "known") == [path] and server.requests == []
    assert out(capsys, "get", "known", "unknown") == [path, f"{tmp_path}/zoo/unknown/b.pth"]
    assert out(capsys, "ls")[1].split() == ["known", "DigitClassifier", "1", "MB"]
    seen = "unknown: as it was when first seen; its checksum is not published"
    assert out(capsys, "verify") == ["known: good", seen]
    assert out(capsys, "verify", "lost") == ["lost: not downloaded"]


def test_a_record(server, tmp_path, capsys):
    shown = out(capsys, "show", "known")
    for line in ("name: known", "file: a.ckpt", "  width: 4", "licence: unknown", "size: unknown", "state: absent"):
        assert line in shown
    assert f"path: {tmp_path}/zoo/known/a.ckpt" in shown
    assert "checksum: not published" in out(capsys, "show", "unknown")


def test_a_damaged_file(server, tmp_path, capsys):
    (path,) = out(capsys, "get", "known")
    (tmp_path / path).write_bytes(b"x")
    assert "known: damaged; download anew with: invariances zoo get known" in complaint(capsys, "verify")
    out(capsys, "get", "known")
    assert out(capsys, "verify") == ["known: good"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "lost"], "save it as"),
        (["get", "knowm"], "knowm: no such model in the zoo; did you mean known?"),
        (["show"], "required: NAME"),
        ([], "required: ACTION"),
        (["gett"], "invalid choice"),
    ],
)
def test_mistakes(server, capsys, words, message):
    assert message in complaint(capsys, *words)


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    """As `| head`: the pipe is closed before anything is written."""
    command = [sys.executable, "-m", "invariances.cli.invariances", "zoo", "ls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
