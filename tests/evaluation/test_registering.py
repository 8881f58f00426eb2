"""A metric of one's own: one class, found in metrics.json, in TensorBoard and in the report."""

import json
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from invariances import evaluation
from invariances.cli import edflow
from invariances.cli import invariances as command
from invariances.config.needs import unmet
from invariances.evaluation import Evaluation
from invariances.evaluation.base import CanEncode, CanSample, CanSampleLike, HasEncoder, HasFactors
from invariances.iterators import AutoencoderIterator, CINNIterator, ClassifierIterator, DIINIterator, IINIterator
from invariances.models import Autoencoder, Classifier
from invariances.training.run import Run

DIGITS = Path(__file__).parents[2] / "configs" / "digits"
QUICK = ["--trainer/accelerator", "cpu", "-l", "warning", "--batch_size", 150]
FEW = ["-t", "--num_steps", 2, *QUICK]
AE = ["-b", DIGITS / "ae.yaml", "--Model/width", 4, "--Model/z_dim", 8, "--evaluation/grid/n_images", 2]
CINN = ["-b", DIGITS / "cinn.yaml", DIGITS / "layers" / "logits.yaml", "--Transformer/in_channels", 8]
CINN += ["--Transformer/mid_channels", 8, "--Transformer/n_flows", 2, "--evaluation/grid/n_images", 2]
CINN += ["--evaluation/faithfulness", "null"]

MODULE = '''
from invariances.evaluation import Evaluation, first_examples
from invariances.config.needs import unmet
from invariances.evaluation.base import CanSampleLike


class Brightness(Evaluation[CanSampleLike]):
    needs = CanSampleLike
    legend = {"brightness_*": "Mean of all pixels of {THE} samples & images."}

    def __init__(self, n_images=10):
        self.n_images = n_images

    def __call__(self, iterator, loader, folder):
        images = first_examples(loader, self.n_images, iterator.device)["image"]
        return {"brightness_of_images": images.mean().item()}


class Duck:
    def __call__(self, iterator, loader, folder):
        return {"constant": 42.0}
'''


def run(*words):
    assert edflow.main([str(word) for word in words]) == 0
    return Run.open("logs/latest")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with trained networks and a module of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)
    Path("my_metrics.py").write_text(MODULE)
    run("-b", DIGITS / "clf.yaml", *FEW), run(*AE, *FEW)


def test_a_class_of_ones_own_is_measured_logged_and_reported(mine):
    words = ["--evaluation/mine", "{class: my_metrics.Brightness, n_images: 20}"]
    words += ["--evaluation/duck", "{class: my_metrics.Duck}"]
    trained = run(*CINN, *words, *FEW)

    facts = json.loads(next(trained.path.glob("train/eval/*/metrics.json")).read_text())
    assert facts["missing"] == {} and facts["metrics"]["constant"] == 42
    brightness = facts["metrics"]["brightness_of_images"]
    assert -1 < brightness < 0
    assert facts["legend"] == {"brightness_of_images": "Mean of all pixels of {THE} samples & images."}

    logged = [EventAccumulator(str(path)).Reload() for path in trained.path.glob("train/tensorboard/**/events*")]
    (events,) = (each for each in logged if "brightness_of_images" in each.Tags()["scalars"])
    assert [event.value for event in events.Scalars("brightness_of_images")] == [pytest.approx(brightness)]

    assert command.main(["report", str(trained.path), "-o", "out"]) == 0
    page = Path("out/report.html").read_text()
    others = page[page.index("Other numbers") :]
    assert f"<td>brightness of images</td><td>{brightness:.3f}</td>" in others
    assert "<dd>Mean of all pixels of {THE} samples &amp; images.</dd>" in others
    assert "<td>constant</td><td>42</td>" in others and "validation" not in others


class Depth(Evaluation):
    """A metric that is registered."""

    def __call__(self, iterator, loader, folder):
        return {"depth": 3.0}


def test_a_registered_class_works_by_its_name(mine, monkeypatch):
    monkeypatch.setitem(evaluation.EVALUATIONS, "depth", Depth)
    facts = json.loads(next(run(*AE, *FEW, "--evaluation/depth", "{}").path.glob("train/**/metrics.json")).read_text())
    assert facts["metrics"]["depth"] == 3


FITS = {
    "factor_sizes": {AutoencoderIterator, ClassifierIterator},
    "faithfulness": {CINNIterator},
    "fid": {AutoencoderIterator, CINNIterator, IINIterator, DIINIterator},
    "grid": {AutoencoderIterator, CINNIterator, IINIterator, DIINIterator},
    "interpolations": {IINIterator, DIINIterator},
    "response": {IINIterator, DIINIterator},
    "swaps": {IINIterator, DIINIterator},
    "walks": {IINIterator, DIINIterator},
}
MODELS = {AutoencoderIterator: Autoencoder, ClassifierIterator: Classifier}


@pytest.mark.parametrize("name", FITS)
def test_each_evaluation_fits_the_tasks_that_offer_what_it_needs(name):
    tasks = (AutoencoderIterator, CINNIterator, ClassifierIterator, DIINIterator, IINIterator)
    cls = evaluation.EVALUATIONS[name]
    assert {task for task in tasks if unmet(cls, task, MODELS.get(task, torch.nn.Identity)) is None} == FITS[name]


def test_what_is_not_met_is_named():
    class OfFactors(Evaluation):
        needs = HasFactors

    class OfSamples(Evaluation):
        needs = CanSample | CanSampleLike

    class OfCodes(Evaluation):
        needs, needs_model = HasEncoder, CanEncode

    class Anything:
        def __call__(self, iterator, loader, folder):
            return {}

    members = "code and decode and factor_names and to_code and to_factors"
    assert unmet(OfFactors, ClassifierIterator, None) == f"needs a task with {members}; ClassifierIterator has none"
    expected = "needs a task with sample_images or sample_like; ClassifierIterator has none"
    assert unmet(OfSamples, ClassifierIterator, None) == expected
    expected = "needs a model with encode; Identity has none"
    assert unmet(OfCodes, ClassifierIterator, torch.nn.Identity) == expected
    assert unmet(OfCodes, ClassifierIterator, None) is None  # the model is not known
    assert unmet(Anything, ClassifierIterator, None) is None and issubclass(Anything, Evaluation)
    assert not issubclass(dict, Evaluation)
