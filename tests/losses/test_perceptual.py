import hashlib
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchmetrics
from torch import nn
from torch.nn import functional as F
from torchvision.models import VGG16_Weights, vgg16

from invariances.errors import UserError
from invariances.losses.perceptual import LPIPS, FeatureDistance, perceptual_distance

HUB_FILE = VGG16_Weights.IMAGENET1K_V1.url.rpartition("/")[2]


def random_vgg():
    """A state dict of VGG16: He weights where LPIPS looks, and the classifier's 124 M numbers all zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg16().state_dict().items()}
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    for name, shape in shapes.items():
        if name.startswith("features") and len(shape) == 4:
            state[name] = torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5
    return state


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A weight file to download, under the name that torchvision checks it by: …-<sha256>.pth."""
    folder = tmp_path_factory.mktemp("server")
    torch.save(random_vgg(), folder / "weights")
    digest = hashlib.sha256((folder / "weights").read_bytes()).hexdigest()
    return (folder / "weights").rename(folder / f"vgg16-{digest[:8]}.pth")


@pytest.fixture(scope="module")
def lpips(backbone, tmp_path_factory):
    """LPIPS as a user gets it the first time: the backbone is downloaded, checked, stored and loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(VGG16_Weights.IMAGENET1K_V1.value, "url", backbone.as_uri())
        return LPIPS()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder of checkpoints, and nothing to download from."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(VGG16_Weights.IMAGENET1K_V1.value, "url", (tmp_path / "server" / HUB_FILE).as_uri())
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "server").mkdir()
    return tmp_path


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def by_hand(x, y, vgg):
    """LPIPS from its definition, for images (B, 3, H, W)."""
    file = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / "vgg.pth"
    lin = torch.load(file, map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, y, total, stage = (x - shift) / scale, (y - shift) / scale, 0, 0
    for block in ([0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]):
        for layer in block:
            weight, bias = vgg[f"features.{layer}.weight"], vgg[f"features.{layer}.bias"]
            x, y = (F.conv2d(h, weight, bias, padding=1).relu() for h in (x, y))
        a, b = (h / h.norm(dim=1, keepdim=True).clamp_min(1e-8) for h in (x, y))
        total = total + F.conv2d((a - b).square(), lin[f"lin{stage}.model.1.weight"]).mean((1, 2, 3))
        x, y, stage = F.max_pool2d(x, 2), F.max_pool2d(y, 2), stage + 1
    return total


def test_lpips_is_its_definition(lpips):
    x, y = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1)
    assert torch.allclose(lpips(x, y), by_hand(x, y, random_vgg()), rtol=1e-4)


@pytest.mark.parametrize(
    "shape", [(1, 1, 28, 28), (2, 1, 32, 32), (2, 3, 16, 16), (1, 3, 8, 8), (1, 1, 5, 9)]
)
def test_lpips_takes_grey_and_small_images(lpips, shape):
    x = images(*shape)
    assert torch.equal(lpips(x, x), torch.zeros(shape[0]))
    assert (lpips(x, -x) > 1e-3).all()
    assert torch.equal(lpips(x, -x), lpips(-x, x))


def test_lpips_of_grey_is_that_of_its_copies(lpips):
    x, y = images(2, 1, 28, 28), images(2, 1, 28, 28, seed=1)
    assert torch.equal(lpips(x, y), lpips(x.repeat(1, 3, 1, 1), y.repeat(1, 3, 1, 1)))


def test_lpips_repeats_the_pixels_of_small_images(lpips):
    x, y = images(1, 3, 8, 8), images(1, 3, 8, 8, seed=1)
    larger = [image.repeat_interleave(2, 2).repeat_interleave(2, 3) for image in (x, y)]
    assert torch.equal(lpips(x, y), lpips(*larger))


def test_lpips_gives_gradients_to_the_image(lpips):
    x = images(1, 1, 16, 16).requires_grad_()
    lpips(x, images(1, 1, 16, 16, seed=1)).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


@pytest.mark.parametrize(("scale", "hint"), [(1, r"are they in \[0, 1\]\?"), (255, r"are they bytes\?")])
def test_C16_lpips_checks_the_range_of_the_first_images(lpips, scale, hint, monkeypatch):
    monkeypatch.setattr(lpips, "_is_checked", False)
    x, y = ((images(1, 3, 16, 16, seed=seed) + 1) / 2 * scale for seed in (0, 1))
    with pytest.raises(ValueError, match=rf"LPIPS: expected images in \[-1, 1\], got values in .*: {hint}"):
        lpips(x, y)
    lpips(images(1, 3, 16, 16), 3 * y)  # a reconstruction may have any values
    lpips(x, y)  # such as a bright batch later on


def test_lpips_refuses_other_channels(lpips):
    with pytest.raises(ValueError, match="1 or 3 channels, got 2"):
        lpips(images(1, 2, 16, 16), images(1, 2, 16, 16))


def message():
    with pytest.raises(UserError) as caught:
        LPIPS()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_backbone_says_what_to_do(home):
    text = message()
    assert str(home / "hub" / "checkpoints" / HUB_FILE) in text
    assert VGG16_Weights.IMAGENET1K_V1.url in text
    assert "Loss/perceptual_weight: 0" in text and "Loss/perceptual:" in text


def test_a_download_of_something_else_is_refused_and_not_kept(home):
    (home / "server" / HUB_FILE).write_text("<html>log in first</html>")
    assert "in place of SHA-256" in message()
    assert [path.suffix for path in (home / "hub" / "checkpoints").iterdir()] in ([], [".lock"])


@pytest.mark.parametrize("content", [b"", b"<html>log in first</html>", b"PK\x03\x04 and then nothing"])
def test_a_damaged_backbone_is_named(home, content):
    file = home / "hub" / "checkpoints" / HUB_FILE
    file.write_bytes(content)
    assert str(file) in message()


def small_network():
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)
    return nn.Sequential(OrderedDict(zip(["conv", "act", "flat", "out"], parts, strict=True)))


def test_feature_distance_is_its_definition():
    network = small_network()
    x, y = images(3, 1, 8, 8), images(3, 1, 8, 8, seed=1)
    expected = torch.zeros(3)
    for features in (network.conv, network):
        a, b = F.normalize(features(x), dim=1), F.normalize(features(y), dim=1)
        expected = expected + (a - b).square().sum(1).flatten(1 if a.ndim > 2 else 0).reshape(3, -1).mean(1)
    # "conv" is followed by an in-place activation, which must not be seen in it
    assert torch.allclose(FeatureDistance(network, ["conv", "out"])(x, y), expected, rtol=1e-5)


def test_feature_distance_of_opposite_features_is_four():
    network = nn.Sequential(nn.Identity())
    x = images(2, 3, 4, 4)
    distance = FeatureDistance(network, "0")
    assert torch.allclose(distance(x, -x), torch.full((2,), 4.0))
    assert torch.equal(distance(x, x), torch.zeros(2))
    assert torch.allclose(distance(x, 3 * x), torch.zeros(2), atol=1e-6)


def test_feature_distance_gives_finite_gradients_for_equal_and_for_empty_images():
    x = torch.zeros(1, 1, 8, 8, requires_grad=True)
    FeatureDistance(small_network(), ["conv", "act", "out"])(x, torch.zeros(1, 1, 8, 8)).sum().backward()
    assert x.grad.isfinite().all()


def test_feature_distance_leaves_no_hooks():
    network = small_network()
    FeatureDistance(network, ["conv"])(images(1, 1, 8, 8), images(1, 1, 8, 8))
    with pytest.raises(RuntimeError):
        FeatureDistance(network, ["conv"])(images(1, 2, 8, 8), images(1, 2, 8, 8))
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    "layers, text",
    [(["cov"], r"no layer 'cov'; did you mean conv\?"), ([], "layers is empty"), ([""], "no layer ''")],
)
def test_feature_distance_refuses_unknown_layers(layers, text):
    with pytest.raises(ValueError, match=text):
        FeatureDistance(small_network(), layers)


def test_feature_distance_names_a_layer_without_features():
    network = nn.Sequential(nn.Flatten(2), nn.LSTM(64, 4))
    with pytest.raises(ValueError, match=r"layer '1' returns a tuple; expected a tensor"):
        FeatureDistance(network, ["1"])(images(1, 1, 8, 8), images(1, 1, 8, 8))


def test_feature_distance_names_a_layer_that_is_never_called():
    network = small_network()
    network.conv.add_module("spare", nn.Identity())
    with pytest.raises(ValueError, match=r"layers \['conv.spare'\] are never called"):
        FeatureDistance(network, ["conv.spare"])(images(1, 1, 8, 8), images(1, 1, 8, 8))


def test_choices():
    network = small_network()
    distance = perceptual_distance({"checkpoint": network, "layers": ["out"]})
    assert isinstance(distance, FeatureDistance) and distance.network is network
    assert perceptual_distance(distance) is distance


@pytest.mark.parametrize(
    "choice, text",
    [
        (nn.Flatten(), "perceptual: Flatten does not take two images"),
        ({"checkpoint": nn.Flatten(), "layers": 3}, "layers is 3; expected a list"),
        ("vgg", "perceptual: expected \"lpips\" or .*, got 'vgg'"),
        ({"layers": ["out"]}, 'perceptual: expected "lpips" or'),
        ({"checkpoint": "latest:clf", "layers": ["out"]}, "a loaded network as checkpoint, got 'latest:clf'"),
    ],
)
def test_other_choices_are_refused(choice, text):
    with pytest.raises(ValueError, match=text):
        perceptual_distance(choice)
