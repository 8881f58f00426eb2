"""The published networks, number for number."""

import numpy as np
import pytest
import torch
import torchvision

from invariances.models import Autoencoder, BigAE, BigGAN, Classifier, Greybox, Preprocess
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


def filled(network, gain):
    """A network of torchvision with the golden weights."""
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict(golden.filled(shapes, gain, dtype=torch.float32))
    return network


def check_layers(network, size, layers, expected):
    for name, path in layers.items():
        z = Greybox(network, path, preprocess=Preprocess(size)).encode(images())
        if z.shape[-1] > 20:
            z = z[:, ::8, ::4, ::4]
        layer = expected[name]
        torch.testing.assert_close(z.reshape(layer.shape), layer, rtol=1e-4, atol=1e-4 * layer.std().item())


def test_alexnet_layers():
    names = golden.entry("alexnet_layers")["module_names"] | {"softmax": "softmax"}
    network = filled(torchvision.models.alexnet(), gain=1.4)
    check_layers(network, 227, names, golden.load("alexnet_layers"))


@pytest.mark.slow
def test_resnet_layers():
    expected = golden.load("resnet_layers")
    check_layers(
        filled(torchvision.models.resnet50(), gain=1), 224, {name: name for name in expected}, expected
    )


@pytest.mark.parametrize(("layer", "shape"), [("features.11", (256, 13, 13)), ("classifier.2", (4096, 1, 1))])
def test_alexnet_by_name_has_the_published_grids(layer, shape):
    assert Greybox("torchvision:alexnet", layer).shape == shape


def close(found, expected):
    """Equal up to 1e-4 of the values' size."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def released_singles(name):
    return golden.filled(golden.entry(name)["shapes"], dtype=torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bigae_animals", "bigae_animalfaces"])
@torch.no_grad()
def test_bigae(name):
    expected = golden.load(name)
    autoencoder = BigAE(**golden.config(name)["Model"]).eval()
    autoencoder.load_released(released_singles(name))
    posterior = autoencoder.encode(images())
    close(posterior.mean, expected["mean"])
    close(posterior.logvar, expected["logvar"])
    close(autoencoder.decode(expected["z"])[:, :, ::4, ::4], expected["decoded_stride4"])


@pytest.mark.slow
@torch.no_grad()
def test_biggan():
    expected = golden.load("biggan_256")
    generator = BigGAN(256).eval()
    generator.load_released(released_singles("biggan_256"))
    generated = generator(expected["z"], expected["class_embedding"])
    close(generated[:, :, ::8, ::8], expected["generated_stride8"])
