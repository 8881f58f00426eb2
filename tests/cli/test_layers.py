"""`invariances layers`: the list is that of Greybox, and mistakes are one line."""

import pytest
from torch import nn

from invariances.cli import invariances as command
from invariances.models import DigitClassifier, Greybox
from invariances.utils import checkpoints


def lines(capsys, *words):
    assert command.main(["layers", *words]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def complaint(capsys, *words):
    assert command.main(["layers", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("invariances: error: ") and err.count("\n") == 1
    return err.strip()


def test_every_layer_where_the_network_can_be_split_with_its_settings(capsys):
    head, *rows = lines(capsys, "torchvision:alexnet", "--size", "64")
    assert head == ["layer", "type", "shape", "conditioning_in_channels", "conditioning_spatial_size"]
    found = {row[0]: row[1:] for row in rows}
    assert list(found) == [layer.name for layer in Greybox.layers("torchvision:alexnet")]
    assert found["features.11"] == ["ReLU", "256", "×", "13", "×", "13", "256", "13"]
    assert found["classifier.6"] == ["Linear", "1000", "×", "1", "×", "1", "1000", "1"]


def test_a_network_of_a_run(capsys, tmp_path):
    path = tmp_path / "model-1.ckpt"
    config = {"model": "invariances.models.DigitClassifier", "Model": {}}
    checkpoints.save({"state_dict": DigitClassifier().state_dict(), "config": config}, path)
    rows = lines(capsys, str(path))
    assert [row[0] for row in rows[1:]] == [layer.name for layer in Greybox.layers(DigitClassifier())]


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
        ([], "required: MODEL"),
    ],
)
def test_mistakes(capsys, words, message):
    assert message in complaint(capsys, *words)
