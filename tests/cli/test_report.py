"""`invariances report`: mistakes are one line, and the help has what a user types."""

from pathlib import Path

import pytest

from invariances.cli import invariances as command


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the runs of one network, or two networks with --compare"),
        (["logs/nothing"], "logs/nothing: no such run"),
        (["latest:nothing"], "latest:nothing: no such run with a checkpoint in logs"),
        (["."], ".: is not a run; expected a folder with configs/<time>-train.yaml"),
        (["a", "--oot", "b"], "--oot: no such flag; did you mean --out?"),
    ],
)
def test_mistakes(capsys, words, message):
    assert command.main(["report", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("invariances: error: ") and err.count("\n") == 1 and message in err
    assert not Path("report").exists()


def test_a_run_that_was_never_evaluated(capsys):
    Path("logs/run/configs").mkdir(parents=True)
    Path("logs/run/configs/2026-11-25T10-00-00-train.yaml").write_text("experiment_name: a\n")
    assert command.main(["report", "logs/run"]) == 2
    assert "logs/run" in capsys.readouterr().err


@pytest.mark.parametrize("name", command.COMMANDS)
def test_help(capsys, name):
    with pytest.raises(SystemExit) as stop:
        command.main([name, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and f"usage: invariances {name}" in out and f"  invariances {name} " in out
