"""Several trainings of one command line: which commands they are, what becomes of a failed one, and mistakes."""

import sys
from pathlib import Path

import pytest

from invariances.cli import edflow, series

NOTE = "import sys; open('calls', 'a').write(' '.join(sys.argv[1:]) + chr(10)); sys.exit(sys.argv[-1] == '2')"


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def noted(monkeypatch):
    """The command lines of trainings that only take notes; the one with seed 2 fails."""
    monkeypatch.setattr(series, "EDFLOW", [sys.executable, "-c", NOTE])
    return lambda: Path("calls").read_text().splitlines()


def test_one_training_for_each_seed(noted):
    words = ["-b", "a.yaml", "b.yaml", "-t", "--Model/width=7", "--seeds", "2", "--batch_size", "4", "-n", "x"]
    assert edflow.main(words) == 0
    same = "-b a.yaml b.yaml -t --Model/width=7 --batch_size 4 -n x"
    assert noted() == [f"{same} --seed 0", f"{same} --seed 1"]


def test_one_training_for_each_file_and_seed(noted, capfd):
    words = ["-b", "a.yaml", "--each", "layers/x.yaml", "layers/y.yaml", "-t", "--seeds=2", "--jobs", "1"]
    assert edflow.main(words) == 0
    same = "-b a.yaml -t -b layers"
    assert noted() == [f"{same}/{file}.yaml --seed {seed}" for file in "xy" for seed in (0, 1)]
    assert "[y seed 1] ended" in capfd.readouterr().out


def test_the_first_failure_ends_it(noted):
    assert edflow.main(["--seeds=5", "-t", "-b", "a.yaml"]) == 1
    assert [line[-1] for line in noted()] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-b", "a.yaml", "-t", "--seeds", "0"], "--seeds 0: expected 1 or more"),
        (["-b", "a.yaml", "-t", "--seeds", "few"], "argument --seeds: invalid int value: 'few'; see edflow --help"),
        (["-b", "a.yaml", "-c", "x.ckpt", "--seeds", "2"], "--seeds is for new trainings; use it with -b CONFIG -t"),
        (["-p", "logs/latest", "-t", "--each", "a.yaml"], "--each is for new trainings; use it with -b CONFIG -t"),
        (["-b", "a.yaml", "-t", "--seeds", "2", "--seed", "3"], "--seed and --seeds: leave out one of them"),
        (["-b", "a.yaml", "-t", "--jobs", "2"], "--jobs is for several trainings; add --each FILE … or --seeds N"),
        (["-b", "a.yaml", "-t", "--seeds", "2", "--jobs", "0"], "--jobs 0: expected 1 or more"),
    ],
)
def test_mistakes(capsys, noted, words, message):
    assert edflow.main(words) == 2
    assert capsys.readouterr().err == f"edflow: error: {message}\n" and not Path("calls").exists()
