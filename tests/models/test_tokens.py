"""Greybox on transformers: which tokens determine the output, and channels-last maps."""

import logging

import pytest
import torch
import torchvision
from torch import nn

from invariances.models import Greybox


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
    )
    nn.init.normal_(model.heads.head.weight)  # torchvision starts it at zero
    model.in_size = 32
    return model.eval()


def images(size=32):
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


FIRST, LAST = "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"


def test_each_exact_choice_is_listed_and_exact(vit):
    listed = {(layer.name, layer.tokens): layer.shape for layer in Greybox.layers(vit)}
    assert listed[FIRST, "all"] == (16, 17, 1) and listed[LAST, "cls"] == (16, 1, 1)
    assert listed["encoder.dropout", "patches"] == (16, 4, 4)  # the class token is still the same for all images
    assert {(FIRST, "cls"), (FIRST, "patches"), (LAST, "patches"), (LAST, "mean")}.isdisjoint(listed)
    for (name, tokens), shape in listed.items():
        box = Greybox(vit, name, tokens=tokens)
        assert box.shape == shape and box.splits and box.exact(images()) < 1e-5


def test_what_is_read_is_what_the_network_computes(vit):
    tokens = {}
    with vit.get_submodule(LAST).register_forward_hook(lambda _m, _x, out: tokens.update(out=out)):
        logits = vit(images())
    z = Greybox(vit, LAST, tokens="cls").encode(images())
    torch.testing.assert_close(z[:, :, 0, 0], tokens["out"][:, 0])
    torch.testing.assert_close(Greybox(vit, LAST, tokens="cls").decode(z), logits)
    patches = Greybox(vit, LAST, tokens="patches", exact=False).encode(images())
    torch.testing.assert_close(patches[:, :, 1, 2], tokens["out"][:, 1 + 4 + 2])
    mean = Greybox(vit, LAST, tokens="mean", exact=False).encode(images())
    torch.testing.assert_close(mean, patches.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("tokens", ["cls", "patches", "mean"])
def test_tokens_of_an_earlier_block_are_refused_or_used_without_decode(vit, tokens, caplog):
    with pytest.raises(ValueError, match=f"{FIRST}' with tokens: {tokens} does not determine the output.*exact: false"):
        Greybox(vit, FIRST, tokens=tokens)
    with caplog.at_level(logging.WARNING):
        box = Greybox(vit, FIRST, tokens=tokens, exact=False)
    assert not box.splits and "is a representation and no split" in box.cautions[0] and box.cautions[0] in caplog.text
    z = box.encode(images())
    with pytest.raises(ValueError, match="does not determine the output"):
        box.decode(z)


def test_the_mean_of_the_patches_is_exact_where_they_are_averaged():
    class Averaging(nn.Module):
        in_size = 8

        def __init__(self):
            super().__init__()
            self.patches, self.norm, self.head = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 5)

        def forward(self, x):
            return self.head(self.norm(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))

    torch.manual_seed(0)
    listed = [(layer.tokens, layer.shape) for layer in Greybox.layers(Averaging()) if layer.name == "norm"]
    assert listed == [("all", (6, 4, 1)), ("patches", (6, 2, 2)), ("mean", (6, 1, 1))]
    assert Greybox(Averaging(), "norm", tokens="mean").exact(images(8)) < 1e-6


@pytest.mark.parametrize(
    ("layer", "tokens", "message"),
    [
        ("conv_proj", "cls", r"no tokens: cls; it has no tokens, leave out tokens"),
        ("heads", "mean", r"returns a tensor of shape \(2, 5\), which has no tokens"),
    ],
)
def test_choices_that_a_layer_does_not_have_are_refused(vit, layer, tokens, message):
    with pytest.raises(ValueError, match=message):
        Greybox(vit, layer, tokens=tokens)


def test_C11_channels_last_maps_are_given_channels_first():
    torch.manual_seed(0)
    swin = torchvision.models.SwinTransformer([2, 2], 8, [1, 1], [1, 2], [4, 4], num_classes=5).eval()
    swin.in_size = 32
    shapes = {layer.name: layer.shape for layer in Greybox.layers(swin)}
    assert shapes["features.0.0"] == shapes["features.0.1"] == shapes["features.1.0"] == (8, 16, 16)
    assert shapes["features.2"] == shapes["norm"] == shapes["permute"] == (16, 8, 8)
    found = {}
    with swin.norm.register_forward_hook(lambda _m, _x, out: found.update(out=out)):
        swin(images())
    box = Greybox(swin, "norm")
    torch.testing.assert_close(box.encode(images()), found["out"].permute(0, 3, 1, 2))
    assert box.exact(images()) < 1e-5


def test_C11_channels_last_maps_of_timm():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 8}
    swin = timm.models.SwinTransformer(**sizes, depths=(1, 1), num_heads=(1, 1), num_classes=5).eval()
    swin.in_size = 32
    box, found = Greybox(swin, "layers.1"), {}
    with swin.layers[1].register_forward_hook(lambda _m, _x, out: found.update(out=out)):
        swin(images())
    assert box.shape == (16, 8, 8)
    torch.testing.assert_close(box.encode(images()), found["out"].permute(0, 3, 1, 2))
