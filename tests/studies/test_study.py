"""Whole studies of seconds."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

import invariances
from invariances.cli import invariances as command
from invariances.errors import UserError
from invariances.studies import execution
from invariances.studies.findings import Finding
from invariances.studies.planning import Plan
from invariances.training.run import Run

WORDS = ["study", "study_nets:Net", "--weights", "net.pt", "--data", "pictures", "--layers", "stage,fc"]


def runs():
    return sorted(path.name for path in Path("studies/Net_pictures/runs").iterdir())


@pytest.mark.slow
def test_a_study_from_the_command_line_and_again(work, capsys):
    assert command.main(WORDS) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1])
    text = page.read_text()
    assert "study_nets:Net on pictures" in text
    assert "How this study was made" in text
    assert (page.parent / "attributes.png").exists()
    first = {name: os.stat(f"studies/Net_pictures/runs/{name}/configs").st_mtime_ns for name in runs()}
    assert len(first) == 3
    assert command.main([*WORDS, "--seeds", "2"]) == 0  # the first trainings are those that are there
    assert len(runs()) == 5
    assert {n: os.stat(f"studies/Net_pictures/runs/{n}/configs").st_mtime_ns for n in first} == first
    assert "σ" in page.read_text()


def test_a_link_that_leads_out_of_a_study_is_refused(tmp_path):
    log = tmp_path / "study" / "runs" / "log"
    log.parent.mkdir(parents=True)
    log.symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=r"--name: .*runs/log is a link out of this folder"):
        execution.run_study(Mock(spec=Plan, folder=tmp_path / "study"))
    assert not (tmp_path / "victim").exists()


@pytest.mark.slow
def test_a_module_and_images_in_memory(work):
    import study_nets

    torch.manual_seed(0)
    network = study_nets.Net(channels=1).train()
    images = (1.6 * torch.rand(80, 1, 1, 1) - 0.8).repeat(1, 1, 32, 32)
    study = invariances.study(network, (images, torch.arange(80) % 2), layers=["fc"], say=lambda line: None)
    assert network.training and all(weight.requires_grad for weight in network.parameters())
    assert study.layers == ["fc"]
    samples = study.samples("fc", images[0], n=3)
    assert samples.shape == (3, 1, 32, 32)
    assert torch.equal(samples, study.samples("fc", images[0], n=3))
    assert study.records[0]["layer"] == "fc"
    assert study.report().exists()
    assert "<table>" in study._repr_html_()
    with pytest.raises(ValueError, match="'fd' is not in this study"):
        study.samples("fd", images[0])


@pytest.mark.slow
def test_a_collapsed_autoencoder_is_trained_once_more_and_then_refused(work, monkeypatch, capsys):
    monkeypatch.setattr(execution, "check_autoencoder", lambda metrics: iter([Finding("stop", "it has collapsed")]))
    assert command.main(WORDS) == 2
    out, error = capsys.readouterr()
    assert "training it once more, at a learning rate of 0.00025" in out
    assert "it has collapsed, also with a lower rate" in error
    assert len([name for name in runs() if name.startswith("autoencoder")]) == 2


PATCHED = """
import sys
from tests.studies.conftest import TINY
from invariances.studies import planning, quality, timing
quality.LEVELS["draft"] = planning.DRAFT = TINY
timing.measured = lambda step: 0.01  # so that two studies plan the same times
timing.started = lambda: 4.0
from invariances.cli.invariances import main
sys.exit(main(sys.argv[1:]))
"""
FIRST_BAR = re.compile(r"(\d+)/\d+ \[00:00<\?, \?step")  # of a training, as it starts


def start(folder):
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", PATCHED, *WORDS]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL)


def starting_folder(work, name):
    """A working folder with the same network and pictures."""
    folder = work / name
    folder.mkdir()
    for path in ("study_nets.py", "net.pt"):
        shutil.copy(work / path, folder)
    shutil.copytree(work / "pictures", folder / "pictures")
    return folder


def report(folder):
    """The files of the report."""
    return {path.name: path.read_bytes() for path in (folder / "studies/Net_pictures/report").iterdir()}


def saved(folder):
    """Steps of the last checkpoint of each training that has one."""
    runs = [Run.open(path) for path in (folder / "studies/Net_pictures/runs").glob("*") if Run(path).has_checkpoints]
    return {run.path.name.rpartition("-")[0]: int(run.last_checkpoint().stem.rpartition("-")[2]) for run in runs}


def started(folder):
    """From which steps each training was started, one after the other."""
    outputs = (folder / "studies/Net_pictures/output").glob("*.txt")
    return {path.stem: [int(step) for step in FIRST_BAR.findall(path.read_text())] for path in outputs}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_random_moments_it_ends_as_if_never_interrupted(work):
    whole, killed = (starting_folder(work, name) for name in ("whole", "killed"))
    began = time.monotonic()
    assert start(whole).wait() == 0
    duration = time.monotonic() - began
    moments = random.Random(0)
    for _ in range(5):
        there, before = saved(killed), started(killed)
        process = start(killed)
        time.sleep(moments.uniform(0.1, 0.5) * duration)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name, steps in started(killed).items():
            assert all(step >= there.get(name, 0) for step in steps[len(before.get(name, [])) :])
    assert start(killed).wait() == 0
    assert report(killed) == report(whole)
