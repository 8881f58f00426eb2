"""The published networks, number for number."""

import numpy as np
import pytest
import torch
import torchvision

from invariances.config.parts import load_network
from invariances.iterators import AutoencoderIterator
from invariances.losses import AutoencoderLoss
from invariances.models import Autoencoder, BigAE, Classifier, Greybox, Preprocess
from invariances.utils import checkpoints
from tests import golden

EXACT = {"atol": 1e-9, "rtol": 1e-9}


def released(name):
    """The weights of a golden file under their released names."""
    return golden.filled(golden.entry(name)["shapes"], golden.entry(name)["gain"])


def test_autoencoder():
    expected = golden.load("autoencoder")
    autoencoder = Autoencoder(**golden.config("autoencoder")["Model"]).double().eval()
    autoencoder.load_released(released("autoencoder"))
    posterior = autoencoder.encode(expected["input"])
    got = {
        "mean": posterior.mean,
        "logvar": posterior.logvar,
        "kl": posterior.kl(),
        "nll_of_zero": posterior.nll(torch.zeros_like(posterior.mean)),
        "reconstruction": autoencoder.decode(posterior.mode()),
    }
    for name, value in got.items():
        torch.testing.assert_close(value, expected[name], **EXACT)


def test_classifier():
    expected, config = golden.load("classifier"), golden.config("classifier")
    classifier = Classifier(**config["Model"], n_classes=config["n_classes"]).double().eval()
    classifier.load_released(released("classifier"))
    torch.testing.assert_close(classifier.encode(expected["input"]), expected["representation"], **EXACT)
    torch.testing.assert_close(classifier(expected["input"]), expected["logits"], **EXACT)


def images():
    return torch.from_numpy(np.random.RandomState(5).uniform(-1, 1, (1, 3, 128, 128))).float()


def write_filled(path, name, gain):
    """A file of the weights of a torchvision model, by the fill rule; the model itself is not built."""
    with torch.device("meta"):
        network = torchvision.models.get_model(name)
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    torch.save(golden.filled(shapes, gain, dtype=torch.float32), path)


def check_layers(network, size, layers, expected):
    for name, path in layers.items():
        z = Greybox(network, path, preprocess=Preprocess(size)).encode(images())
        if z.shape[-1] > 20:
            z = z[:, ::8, ::4, ::4]
        layer = expected[name]
        torch.testing.assert_close(z.reshape(layer.shape), layer, rtol=1e-4, atol=1e-4 * layer.std().item())


@pytest.mark.slow
def test_alexnet_layers(tmp_path):
    write_filled(tmp_path / "alexnet.pth", "alexnet", gain=1.4)
    network = Greybox("torchvision:alexnet", "softmax", weights=tmp_path / "alexnet.pth").studied
    names = golden.entry("alexnet_layers")["module_names"] | {"softmax": "softmax"}
    check_layers(network, 227, names, golden.load("alexnet_layers"))


@pytest.mark.slow
def test_resnet_layers(tmp_path):
    write_filled(tmp_path / "resnet.pth", "resnet50", gain=1)
    network = Greybox("torchvision:resnet50", "softmax", weights=tmp_path / "resnet.pth").studied
    expected = golden.load("resnet_layers")
    check_layers(network, 224, {name: name for name in expected}, expected)


@pytest.mark.parametrize(("layer", "shape"), [("features.11", (256, 13, 13)), ("classifier.2", (4096, 1, 1))])
def test_alexnet_by_name_has_the_published_grids(layer, shape):
    assert Greybox("torchvision:alexnet", layer).shape == shape


def close(found, expected):
    """Equal up to 1e-4 of the values' size."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def write_released(path, name):
    """A file as the older projects saved it."""
    weights = golden.filled(golden.entry(name)["shapes"], dtype=torch.float32)
    torch.save({"model": weights, "optimizer": {}}, path, _use_new_zipfile_serialization=False)
    return path


@torch.no_grad()
def check_bigae(autoencoder, expected):
    posterior = autoencoder.encode(images())
    close(posterior.mean, expected["mean"])
    close(posterior.logvar, expected["logvar"])
    close(autoencoder.decode(expected["z"])[:, :, ::4, ::4], expected["decoded_stride4"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bigae_animals", "bigae_animalfaces"])
def test_bigae_as_first_stage_and_as_checkpoint_of_its_training(name, tmp_path):
    path, arguments = write_released(tmp_path / "released.ckpt", name), golden.config(name)["Model"]
    check_bigae(load_network(path, "invariances.models.BigAE", {"Model": arguments}), golden.load(name))
    loss = AutoencoderLoss(disc_in_channels=3, disc_start=0, perceptual_weight=0.0, disc_width=4)
    task = AutoencoderIterator(BigAE(**arguments), loss, learning_rate=1e-3).eval()
    checkpoints.restore(task, path)  # what -c does
    check_bigae(task.model, golden.load(name))


@pytest.mark.slow
@torch.no_grad()
def test_biggan(tmp_path):
    expected, path = golden.load("biggan_256"), write_released(tmp_path / "released.pth", "biggan_256")
    generator = load_network(path, "invariances.models.BigGAN", {"Model": {"size": 256}})
    generated = generator(expected["z"], expected["class_embedding"])
    close(generated[:, :, ::8, ::8], expected["generated_stride8"])
