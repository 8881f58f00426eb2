"""The settings of a conditional flow that the layer under study implies, and networks under study in a config."""

import logging

import pytest
import torch
from torch import nn

from invariances.config.checking import check
from invariances.config.conditioning import conditioning, fill_conditioning
from invariances.config.parts import PARTS
from invariances.errors import UserError

HERE = __name__
FLOW = {"in_channels": 8, "mid_channels": 8, "hidden_depth": 1, "n_flows": 2}


class Net(nn.Module):
    """A user's network: greyscale images of 28 pixels."""

    def __init__(self, width: int):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, width, 3, padding=1, stride=2), nn.Linear(width * 14 * 14, 3)

    def forward(self, x):
        return self.head(self.conv(x).relu().flatten(1))


OWN = {
    "model": {"class": f"{HERE}.Net", "width": 4},
    "preprocess": {"size": 28, "mean": [0.13], "std": [0.31]},
    "layer": "conv",
}


def config(flow=FLOW, **greybox):
    return {
        "model": "invariances.flows.ConditionalTransformer",
        "Transformer": flow,
        "iterator": "invariances.iterators.CINNIterator",
        "GreyboxModel": OWN | greybox,
        "AutoencoderModel": {"checkpoint": "ae.ckpt"},
        "datasets": {"validation": "invariances.data.ColorfulDigitsTest"},
    }


@pytest.mark.parametrize(
    ("side", "down"), [(224, 5), (56, 4), (28, 3), (14, 2), (13, 2), (7, 1), (16, 3), (8, 2), (4, 1), (3, 0), (2, 0)]
)
def test_the_embedder_is_as_deep_as_in_the_published_experiments(side, down):
    assert conditioning((5, side, side)) == {
        "conditioning_in_channels": 5, "conditioning_spatial_size": side, "embedder_down": down,
    }  # fmt: skip


def test_absent_settings_are_filled_in():
    filled = fill_conditioning(check(config(), train=False))
    expected = {"conditioning_in_channels": 4, "conditioning_spatial_size": 14, "embedder_down": 2}
    assert filled["Transformer"] == FLOW | expected
    assert fill_conditioning(filled) is filled


def test_given_settings_are_kept_and_checked():
    kept = fill_conditioning(config(FLOW | {"embedder_down": 3, "conditioning_in_channels": 4}))
    assert (kept["Transformer"]["embedder_down"], kept["Transformer"]["conditioning_spatial_size"]) == (3, 14)
    message = r"^Transformer/conditioning_in_channels: got 5, but GreyboxModel/layer conv has 4"
    with pytest.raises(UserError, match=message):
        fill_conditioning(config(FLOW | {"conditioning_in_channels": 5}))


def test_maps_that_are_not_square_are_refused():
    with pytest.raises(UserError, match="GreyboxModel/layer conv: maps of 14 × 7 cannot condition a flow"):
        fill_conditioning(config(preprocess=None, in_size=[28, 14], in_channels=1, model=f"{HERE}.Tall"))


def test_all_tokens_at_once_are_refused():
    with pytest.raises(ValueError, match="all 197 tokens cannot condition a flow; choose with tokens: cls, patches or"):
        conditioning((192, 197, 1))


class Tall(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, stride=2)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def test_a_class_of_the_users_with_arguments_weights_and_input(tmp_path, caplog):
    source = Net(4)
    torch.save(source.state_dict(), tmp_path / "net.pt")
    box = PARTS["greybox"].build(config(weights=str(tmp_path / "net.pt")), "GreyboxModel")
    x = torch.rand(2, 1, 28, 28) * 2 - 1
    torch.testing.assert_close(box.encode(x), source.conv(((x + 1) / 2 - 0.13) / 0.31))
    assert box.cautions == [] and not caplog.records
    with caplog.at_level(logging.WARNING):
        box = PARTS["greybox"].build(config(weights=None), "GreyboxModel")
    assert f"{HERE}.Net has the weights of its constructor" in box.cautions[0] and box.cautions[0] in caplog.text


@pytest.mark.parametrize(
    ("greybox", "message"),
    [
        ({"model": {"class": f"{HERE}.Net", "wdth": 3}}, "GreyboxModel/model/wdth: unknown argument of Net"),
        ({"model": {"width": 3}}, "GreyboxModel/model: None is not a dotted class path"),
        ({"preprocess": {"sise": 3}}, "GreyboxModel/preprocess/sise: unknown argument of Preprocess; did you mean"),
        ({"tokens": "first"}, 'GreyboxModel/tokens: "first" is text; expected one of all, cls, patches, mean'),
        ({"layer": None}, "GreyboxModel/layer: missing; give it, or split_idx"),
    ],
)
def test_mistakes(greybox, message):
    given = config(**greybox)
    given["GreyboxModel"] = {name: value for name, value in given["GreyboxModel"].items() if value is not None}
    with pytest.raises(UserError) as error:
        check(given, train=False)
    assert message in str(error.value)


def test_a_checkpoint_has_its_own_weights():
    given = config()
    given["GreyboxModel"] = {"checkpoint": "a.ckpt", "layer": "conv", "weights": "b.pt"}
    with pytest.raises(UserError, match="GreyboxModel/weights: not used with checkpoint"):
        check(given, train=False)
