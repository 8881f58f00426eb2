"""Files of the older projects as checkpoints of the training tasks: `-c FILE`."""

import logging
from functools import cache

import pytest
import torch

from invariances.errors import UserError
from invariances.flows import ConditionalTransformer, FactorTransformer, VectorTransformer
from invariances.iterators import AutoencoderIterator, CINNIterator, ClassifierIterator, DIINIterator, IINIterator
from invariances.losses import AutoencoderLoss
from invariances.models import Autoencoder, Classifier
from invariances.utils import checkpoints
from tests import golden
from tests.iterators.worlds import Pixels

RATE = {"learning_rate": 1e-3}


class Layer(torch.nn.Module):
    """A network under study with representations of any shape."""

    layer, depth = "layer", 0

    def __init__(self, shape):
        super().__init__()
        self.shape = shape


def cinn(name, **arguments):
    config = golden.config(name)["Transformer"]
    size = config["conditioning_spatial_size"]
    layer = Layer((config["conditioning_in_channels"], size, size))
    return CINNIterator(ConditionalTransformer(**config), layer, Pixels(z_dim=8), **RATE, **arguments)


def iin(name):
    config = golden.config(name)["Transformer"]
    first_stage = Pixels(z_dim=config["in_channel"])
    if "n_factors" in config:
        return DIINIterator(FactorTransformer(**config), first_stage, **RATE)
    return IINIterator(VectorTransformer(**config), first_stage, **RATE)


def autoencoder():
    loss = AutoencoderLoss(**golden.config("autoencoder_loss")["Loss"])
    return AutoencoderIterator(Autoencoder(**golden.config("autoencoder")["Model"]), loss, **RATE)


def classifier():
    config = golden.config("classifier")
    return ClassifierIterator(Classifier(**config["Model"], n_classes=config["n_classes"]), **RATE)


@cache
def weights(name):
    """The released state dict of a golden file."""
    stored, about = golden.load(name, "weights."), golden.entry(name)
    if about.get("weights", "stored") == "stored":
        return stored
    integers = {key: value for key, value in stored.items() if not value.is_floating_point()}
    return golden.filled(about["shapes"], about.get("gain", 1.0), ints=integers)


FORMS = {
    "whole": lambda state: {"model": state, "loss": {}, "optimizer": {"state": {}, "param_groups": []}},
    "bare": lambda state: state,
    "parallel": lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
}
TASKS = {
    "cinn_dense": lambda: cinn("cinn_dense"),
    "cinn_conv": lambda: cinn("cinn_conv"),
    "cinn_lrelu": lambda: cinn("cinn_lrelu"),
    "iin_vector": lambda: iin("iin_vector"),
    "iin_factor_chunk": lambda: iin("iin_factor_chunk"),
    "iin_factor_split": lambda: iin("iin_factor_split"),
    "autoencoder": autoencoder,
    "classifier": classifier,
}


@torch.no_grad()
def outputs(model, name):
    """What a golden file says of a model, and what it says in it: pairs to compare."""
    values = golden.load(name)
    if name.startswith("cinn"):
        v, _ = model(values["input"], values["conditioning"])
        return [(v, values["output"]), (model.inverse(values["output"], values["conditioning"]), values["inverse"])]
    if name == "iin_vector":
        return [(model(values["input"])[0], values["output"])]
    if name.startswith("iin"):
        return [(factor, values[f"output1.{k}"]) for k, factor in enumerate(model(values["input1"])[0])]
    if name == "classifier":
        return [(model(values["input"]), values["logits"])]
    return [(model.encode(values["input"]).mean, values["mean"])]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TASKS)
def test_a_released_file_is_a_checkpoint(name, form, tmp_path):
    torch.save(FORMS[form](weights(name)), tmp_path / "a.ckpt", _use_new_zipfile_serialization=form != "whole")
    task = TASKS[name]().double().eval()
    checkpoints.restore(task, tmp_path / "a.ckpt")
    assert int(task.step) == 0
    for found, expected in outputs(task.model, name):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def test_so_are_the_weights_of_our_own_model_alone(tmp_path):
    source, target = iin("iin_vector"), iin("iin_vector")
    torch.save(source.model.state_dict(), tmp_path / "a.ckpt")
    checkpoints.restore(target, tmp_path / "a.ckpt")
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())


def test_a_checkpoint_of_a_run_brings_its_step(tmp_path):
    source, target = iin("iin_vector"), iin("iin_vector")
    source.step.fill_(7)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "a.ckpt")
    checkpoints.restore(target, tmp_path / "a.ckpt")
    assert int(target.step) == 7


def test_the_discriminator_of_the_file_is_used(tmp_path, caplog):
    task, model = autoencoder(), weights("autoencoder")
    loss = {name: value + 1 for name, value in task.loss.state_dict().items()} | {"perceptual_loss.a": torch.ones(1)}
    torch.save({"model": model, "loss": loss}, tmp_path / "a.ckpt")
    checkpoints.restore(task, tmp_path / "a.ckpt")
    assert all(torch.equal(value, loss[name]) for name, value in task.loss.state_dict().items())
    torch.save({"model": model, "loss": {"logvar": torch.ones(())}}, tmp_path / "b.ckpt")
    with caplog.at_level(logging.WARNING):
        checkpoints.restore(task, tmp_path / "b.ckpt")
    assert "its loss starts anew: of" in caplog.text and "missing (discriminator.main" in caplog.text


def test_what_a_released_file_cannot_do(tmp_path):
    torch.save({"model": weights("cinn_dense")}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"holds the weights of the model alone, and not those of the baseline"):
        checkpoints.restore(cinn("cinn_dense", baseline_dim=4), tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"holds weights alone and cannot be resumed; add -r"):
        checkpoints.restore(cinn("cinn_dense"), tmp_path / "a.ckpt", resume=True)
    with pytest.raises(UserError, match=r"a.ckpt: the weights do not fit VectorTransformer: "):
        checkpoints.restore(iin("iin_vector"), tmp_path / "a.ckpt")
