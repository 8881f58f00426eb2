"""The settings of a conditional flow that the layer under study implies."""

from collections.abc import Mapping
from typing import Any

from invariances.config.parts import PARTS, arguments_section, is_conditioned
from invariances.config.signatures import prefix_errors
from invariances.errors import InvalidInput, UserError

MOST_DOWN = 5  # stages of the embedder, after which it has its most channels, 1024


def conditioning(shape: tuple[int, int, int]) -> dict[str, int]:
    """The arguments of `ConditionalTransformer` for representations of a shape (C, H, W).

    The embedder halves a map to about 3 × 3, at most 5 times, as in the published experiments.

    Raises:
        InvalidInput: see `side_of`.

    >>> conditioning((256, 13, 13))
    {'conditioning_in_channels': 256, 'conditioning_spatial_size': 13, 'embedder_down': 2}
    >>> conditioning((4096, 1, 1))
    {'conditioning_in_channels': 4096, 'conditioning_spatial_size': 1}
    """
    from invariances.models.studied.layout import side_of  # imports torch

    side = side_of(shape)
    implied = {"conditioning_in_channels": shape[0], "conditioning_spatial_size": side}
    down = max(0, min(MOST_DOWN, side.bit_length() - 2))
    return implied | ({"embedder_down": down} if side > 1 else {})


def fill_conditioning(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the settings of the flow that are absent, and check those that are given.

    The network is built for it, without its weights, unless all are given.

    Raises:
        UserError: given settings that do not fit the layer, or a layer whose maps are not square.
    """
    greybox = config.get("GreyboxModel")
    where = arguments_section(config, "model")
    section = config.get(where) or {}
    if greybox is None or not is_conditioned(config) or _is_complete(section):
        return config
    shape, title = _shape(greybox)
    with prefix_errors(title, InvalidInput):
        implied = conditioning(shape)
    for name in ("conditioning_in_channels", "conditioning_spatial_size"):
        if section.get(name, implied[name]) != implied[name]:
            raise UserError(
                f"{where}/{name}: got {section[name]}, but {title} has {implied[name]}; use that, or leave it out"
            )
    return config | {where: implied | section}


def _is_complete(section: Mapping[str, Any]) -> bool:
    """Whether all settings are given; vectors need no embedder_down."""
    names = {"conditioning_in_channels", "conditioning_spatial_size", "embedder_down"}
    vectors = section.get("conditioning_spatial_size") == 1
    return names - ({"embedder_down"} if vectors else set()) <= section.keys()


def _shape(greybox: Mapping[str, Any]) -> tuple[tuple[int, int, int], str]:
    """(C, H, W) of the representation, and the layer for messages."""
    bare = {name: value for name, value in greybox.items() if name not in ("weights", "weights_partial")}
    box = PARTS["greybox"].build({"GreyboxModel": bare}, "GreyboxModel")
    return box.shape, f"GreyboxModel/layer {box.layer}"
