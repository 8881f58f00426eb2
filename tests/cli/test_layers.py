"""`invariances layers`: the list is that of Greybox, and mistakes are one line."""

import pytest
from torch import nn

from invariances.cli import invariances as command
from invariances.models import DigitClassifier, Greybox
from invariances.utils import checkpoints


def lines(capsys, *words):
    """The words of each line of the table, and the line about the images."""
    assert command.main(["layers", *words]) == 0
    *table, empty, images = capsys.readouterr().out.splitlines()
    assert empty == ""
    return [line.split() for line in table], images


def complaint(capsys, *words):
    assert command.main(["layers", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("invariances: error: ") and err.count("\n") == 1
    return err.strip()


def test_every_layer_where_the_network_can_be_split_with_its_settings(capsys):
    (head, *rows), images = lines(capsys, "torchvision:alexnet", "--size", "64")
    assert head == ["layer", "type", "shape", "conditioning_in_channels", "conditioning_spatial_size", "embedder_down"]
    found = {row[0]: row[1:] for row in rows}
    assert list(found) == [layer.name for layer in Greybox.layers("torchvision:alexnet")]
    assert found["features.11"] == ["ReLU", "256", "×", "13", "×", "13", "256", "13", "2"]
    assert found["classifier.6"] == ["Linear", "1000", "×", "1", "×", "1", "1000", "1", "-"]
    assert images == (
        "images: 3 × 64 × 64 in [-1, 1]; preprocess: {size: 227, resize: null, interpolation: bilinear, "
        "antialias: false, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"
    )


def test_a_network_of_a_run(capsys, tmp_path):
    path = tmp_path / "model-1.ckpt"
    config = {"model": "invariances.models.DigitClassifier", "Model": {}}
    checkpoints.save({"state_dict": DigitClassifier().state_dict(), "config": config}, path)
    rows, images = lines(capsys, str(path))
    assert [row[0] for row in rows[1:]] == [layer.name for layer in Greybox.layers(DigitClassifier())]
    assert images == "images: 3 × 32 × 32 in [-1, 1]; preprocess: none"


class Net(nn.Sequential):
    """A transformer without attention, for images of 16 × 8 pixels."""

    def __init__(self, width):
        tokens = [nn.Conv2d(1, width, 4, stride=4), nn.Flatten(2), Transpose(), nn.LayerNorm(width)]
        super().__init__(*tokens, nn.Flatten(), nn.Linear(width * 8, 3))


class Transpose(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_a_class_with_arguments_tokens_and_images_that_are_not_square(capsys):
    model = f"{{class: {__name__}.Net, width: 5}}"
    (head, *rows), images = lines(capsys, model, "--size", "16", "8", "--channels", "1")
    assert head[-1] == "tokens" and images.startswith("images: 1 × 16 × 8 in")
    assert [row for row in rows if row[0] == "3"] == [
        ["3", "LayerNorm", "5", "×", "8", "×", "1", "5", "a", "square", "map", "is", "needed", "-", "all"],
        ["3", "LayerNorm", "5", "×", "4", "×", "2", "5", "a", "square", "map", "is", "needed", "-", "patches"],
    ]


class Row(nn.Module):
    """A number for each image, in no column."""

    def forward(self, x):
        return x.mean((1, 2, 3))


class Failing(nn.Module):
    """A network with an error in its forward pass."""

    def forward(self, x):
        raise ZeroDivisionError("boom")


def test_an_error_inside_a_network_keeps_its_type():
    with pytest.raises(ZeroDivisionError, match="boom"):
        command.main(["layers", f"{__name__}.Failing"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["torchvision:alexnett"], "did you mean alexnet?"),
        (["nosuch"], "nosuch: model 'nosuch' cannot be imported"),
        (["nosuch.ckpt"], "nosuch.ckpt: no such file"),
        (["torchvision:alexnet", "--size", "x"], "argument --size: invalid int value: 'x'"),
        (["torchvision:alexnet", "--size", "0"], "--size is 0; expected 1 or more"),
        (["invariances.models.DigitClassifier", "--size", "7"], "shape (2, 3, 7, 7); expected (B, 3, 32, 32)"),
        (["torchvision:alexnet", "--size", "1", "2", "3"], "--size has 3 values; expected a side, or height and width"),
        (["{class: torchvision:alexnet, num_clases: 3}"], "unexpected keyword argument 'num_clases'"),
        ([f"{__name__}.Net"], "cannot be made: missing a required argument: 'width'; arguments are written as"),
        ([f"{__name__}:Row", "--size", "8"], "a tensor of shape (2,); expected (B, C) or (B, C, H, W)"),
        (["nets/mine.py:Net"], "did you mean nets.mine.Net?"),
        ([], "required: MODEL"),
    ],
)
def test_mistakes(capsys, words, message):
    assert message in complaint(capsys, *words)
