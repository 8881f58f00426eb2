import os
import sys
from pathlib import Path

from invariances.cli import invariances as cli


def started(monkeypatch, *words):
    commands = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    assert cli.main(["demo", *words]) == 0
    return commands[0]


def test_the_page_opens_on_runs_and_a_port(monkeypatch, tmp_path):
    (tmp_path / "run" / "configs").mkdir(parents=True)
    (tmp_path / "run" / "configs" / "2026-01-01T00-00-00-train.yaml").touch()
    command = started(monkeypatch, str(tmp_path / "run"), "--port", "9000")
    assert command[:4] == [sys.executable, "-m", "streamlit", "run"]
    assert Path(command[4]).name == "demo_visualization.py"
    assert "--server.port=9000" in command and command[-2:] == ["--", str(tmp_path / "run")]
    assert started(monkeypatch)[-1] == "--"


def test_a_study_may_be_given(monkeypatch, tmp_path):
    (tmp_path / "study.yaml").touch()
    assert started(monkeypatch, str(tmp_path))[-1] == str(tmp_path)


def test_a_run_that_does_not_exist_is_told_before_any_page(capsys):
    assert cli.main(["demo", "nowhere"]) == 2
    assert capsys.readouterr().err == "invariances: error: nowhere: no such run\n"
