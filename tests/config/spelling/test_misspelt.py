"""Misspelt names are told without importing torch, and no right name is refused."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import invariances.data
import invariances.iterators
import invariances.losses
import invariances.models
from invariances.config.signatures import parameters
from invariances.config.spelling import refuse_misspelt
from invariances.config.spelling.source import argument_names
from invariances.errors import UserError
from invariances.utils.shipped_configs import config_files

CLASSES = [
    f"{package.__name__}.{name}"
    for package in (invariances.data, invariances.iterators, invariances.losses, invariances.models)
    for name in package.__all__
    if inspect.isclass(getattr(package, name))
]


def found(*lines, **overrides):
    Path("a.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError) as error:
        refuse_misspelt(["a.yaml"], overrides)
    return str(error.value).splitlines()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", CLASSES)
def test_the_source_tells_what_the_signature_tells(path):
    module, _, name = path.rpartition(".")
    names, anything = parameters(getattr(sys.modules[module], name))
    told = argument_names(path)
    assert told is None or anything or told == names.keys()


def test_most_classes_are_told():
    assert sum(argument_names(path) is not None for path in CLASSES) > 0.9 * len(CLASSES)


@pytest.mark.parametrize("path", ["torch.nn.Linear", "invariances.models.Nothing", "invariances.nowhere.A", "A", ""])
def test_others_are_left_to_the_complete_check(path):
    assert argument_names(path) is None


@pytest.mark.parametrize("name", config_files())
def test_no_shipped_config_is_refused(name):
    refuse_misspelt([config_files()[name]], {})


def test_all_names_at_once():
    lines = found(
        "model: invariances.models.DigitClassifier",
        "Model: {widht: 3}",
        "iterator: invariances.iterators.ClassifierIterator",
        "datasets: {train: {class: invariances.data.DigitsTrain, sise: 3, part: {split: train}}}",
        "batch_sise: 3",
        "classifier_loss: cross_entropy",
    )
    assert lines == [
        "3 unknown names in the config",
        "  batch_sise: unknown key; did you mean batch_size?",
        "  Model/widht: unknown argument of DigitClassifier; did you mean width?",
        "  datasets/train/sise: unknown argument of DigitsTrain; did you mean size?",
    ]


def test_overrides_count():
    lines = found("model: invariances.models.DigitClassifier", **{"Model/widht": "3"})
    assert lines == ["Model/widht: unknown argument of DigitClassifier; did you mean width?"]


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from invariances.cli import edflow\n"
        "assert edflow.main(['-b', 'configs/digits/clf.yaml', '-t', '--Model/widht', '3']) == 2\n"
        "assert not {'torch', 'numpy', 'pytorch_lightning'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("Model/widht: unknown argument of DigitClassifier; did you mean width?\n")
