"""`edflow --seeds N`: which commands it runs, what becomes of a failed one, and what it cannot be combined with."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from invariances.cli import edflow, seeds

NOTE = "import sys; open('calls', 'a').write(' '.join(sys.argv[1:]) + chr(10)); sys.exit(sys.argv[-1] == '2')"


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def noted(monkeypatch):
    """The command lines of trainings that only take notes; the one with seed 2 fails."""
    monkeypatch.setattr(seeds, "COMMAND", [sys.executable, "-c", NOTE])
    return lambda: Path("calls").read_text().splitlines()


def test_one_training_for_each_seed(noted):
    words = ["-b", "a.yaml", "b.yaml", "-t", "--Model/width=7", "--seeds", "2", "--batch_size", "4", "-n", "x"]
    assert edflow.main(words) == 0
    same = "-b a.yaml b.yaml -t --Model/width=7 --batch_size 4 -n x"
    assert noted() == [f"{same} --seed 0", f"{same} --seed 1"]


def test_the_first_failure_ends_it(noted):
    assert edflow.main(["--seeds=5", "-t", "-b", "a.yaml"]) == 1
    assert [line[-1] for line in noted()] == ["0", "1", "2"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_training_and_ends_the_series(signum):
    sleeps = "import signal, sys, time; print('ready', flush=True); time.sleep(20)"
    series = (
        "import signal, sys; from invariances.cli import seeds\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"seeds.COMMAND = [sys.executable, '-c', {sleeps!r}]\n"
        "sys.exit(seeds.train_seeds([], 3))"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", series], **pipes)
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signum)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 128 + signum and "ready" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-b", "a.yaml", "-t", "--seeds", "0"], "--seeds 0: expected 1 or more trainings"),
        (["-b", "a.yaml", "-t", "--seeds", "few"], "argument --seeds: invalid int value: 'few'; see edflow --help"),
        (["-b", "a.yaml", "-c", "x.ckpt", "--seeds", "2"], "--seeds is for new trainings; use it with -b CONFIG -t"),
        (["-p", "logs/latest", "-t", "--seeds", "2"], "--seeds is for new trainings; use it with -b CONFIG -t"),
        (["-b", "a.yaml", "-t", "--seeds", "2", "--seed", "3"], "--seed and --seeds: leave out one of them"),
    ],
)
def test_mistakes(capsys, noted, words, message):
    assert edflow.main(words) == 2
    assert capsys.readouterr().err == f"edflow: error: {message}\n" and not Path("calls").exists()
