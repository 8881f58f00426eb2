"""Real architectures at their real sizes: each listed layer determines the output."""

import pytest
import torch
from torch import nn

from invariances.models import Greybox
from invariances.models.greybox import listed_layers
from invariances.models.pretrained import load_network

CHEAP = ["torchvision:squeezenet1_1"]
ALL = [
    *("torchvision:alexnet", "torchvision:vgg11", "torchvision:resnet18", "torchvision:mobilenet_v3_small"),
    *("torchvision:densenet121", "torchvision:convnext_tiny", "torchvision:swin_t", "torchvision:vit_b_16"),
    *("timm:tf_efficientnet_lite0", "timm:vit_tiny_patch16_224"),
]


def loaded_network(name):
    """A network with statistics and heads as after training, so that every part matters."""
    if name.startswith("timm"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    loaded = load_network(name)
    for module in loaded.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    for weight in loaded.network.parameters():
        if not weight.any() and weight.ndim > 1:  # torchvision's transformers end in zeros
            nn.init.normal_(weight, std=0.02)
    return loaded


def check_layer(loaded, layer):
    box = Greybox(loaded.network, layer.name, preprocess=loaded.preprocess, in_size=loaded.in_size, tokens=layer.tokens)
    x = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert box.shape == layer.shape and box.splits
    assert box.exact(x) <= 1e-5 * box(x).abs().max(), layer
    return box


@pytest.mark.parametrize("name", CHEAP)
def test_some_layers_are_exact(name):
    loaded = loaded_network(name)
    listed = listed_layers(loaded)
    assert len(listed) == 37
    for layer in listed[::12]:
        check_layer(loaded, layer)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CHEAP + ALL)
def test_every_listed_layer_is_exact(name):
    loaded = loaded_network(name)
    listed = listed_layers(loaded)
    assert {"input", "softmax"} < {layer.name for layer in listed}
    for layer in listed:
        check_layer(loaded, layer)


@pytest.mark.slow
def test_swin_maps_are_given_channels_first():
    shapes = {layer.name: layer.shape for layer in listed_layers(loaded_network("torchvision:swin_t"))}
    assert len(shapes) == 37
    assert all(height == width and (channels > width or width == 224) for channels, height, width in shapes.values())
    assert shapes["norm"] == (768, 7, 7)
