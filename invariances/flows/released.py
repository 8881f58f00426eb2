"""Weights under the names of the released checkpoints."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from invariances.flows.layers.actnorm import fill_missing_initialized

Names = tuple[tuple[str, str], ...]  # patterns of our names, and what stands in their place in the file
VECTOR: Names = (
    (r"^flow\.(\d+)\.norm\.", r"realnvp.flow.\1.flow.0."),
    (r"^flow\.(\d+)\.coupling\.", r"realnvp.flow.\1.flow.1."),
    (r"^flow\.(\d+)\.permutation\.(forward|backward)_index", r"realnvp.flow.\1.flow.2.\2_shuffle_idx"),
)
CONDITIONAL: Names = (
    (r"^flow\.(\d+)\.norm\.", r"flow.sub_layers.\1.norm_layer."),
    (r"^flow\.(\d+)\.coupling\.", r"flow.sub_layers.\1.coupling."),
    (r"^flow\.(\d+)\.permutation\.(forward|backward)_index", r"flow.sub_layers.\1.shuffle.\2_shuffle_idx"),
    (r"^embedder\.stages\.(\d+)\.(\d)\.", r"embedder.feature_layers.\1.sub_layers.\2."),
    (r"^embedder\.head\.", "embedder.dense_encode.sub_layers.0."),
)
NETWORK = re.compile(r"\.(first|second)\.(\d+)\.(weight|bias)$")


def as_released(state: Mapping[str, Tensor], names: Names) -> Iterator[tuple[str, Tensor]]:
    """Views of a flow's weights under the names, and in the shapes, of the released checkpoints.

    Theirs hold the scale network s and the shift network t of a coupling apart, with weights (out, in), and
    the dense embedder's layers as 1×1 convolutions.

    Args:
        state: state dict of one of our flows.
        names: `VECTOR` or `CONDITIONAL`, the kind of flow.

    >>> state = {"flow.3.coupling.second.0.bias": torch.zeros(2, 1, 16)}
    >>> {name: tuple(view.shape) for name, view in as_released(state, VECTOR)}
    {'realnvp.flow.3.flow.1.s.1.main.0.bias': (16,), 'realnvp.flow.3.flow.1.t.1.main.0.bias': (16,)}
    """
    for name, tensor in state.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        if match := NETWORK.search(name):
            coupling, layer, kind = ("first", "second").index(match[1]), match[2], match[3]
            for network, view in zip("st", tensor, strict=True):
                theirs = f"{name[: match.start()]}.{network}.{coupling}.main.{layer}.{kind}"
                yield theirs, view.mT if kind == "weight" else view[0]
        else:
            linear = name.startswith("embedder.net.") and tensor.ndim == 2
            yield name, tensor[:, :, None, None] if linear else tensor


@torch.no_grad()
def load_released(module: nn.Module, weights: Mapping[str, Tensor], names: Names) -> None:
    """Give a flow the weights of a released checkpoint, every one of them or none.

    Marks of ActNorms may be absent, see `fill_missing_initialized`.

    Args:
        module: the flow.
        weights: the checkpoint's names to tensors.
        names: `VECTOR` or `CONDITIONAL`.

    Raises:
        ValueError: lists the names that are missing, unknown or of another shape.
    """
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    views = dict(as_released(state, names))
    weights = fill_missing_initialized(weights, [name for name in views if name.endswith(".initialized")])
    _check(views, weights, type(module).__name__)
    for name, view in views.items():
        view.copy_(weights[name])
    module.load_state_dict(state)


def _check(views: Mapping[str, Tensor], weights: Mapping[str, Tensor], owner: str) -> None:
    problems = {
        "missing": [name for name in views if name not in weights],
        "unknown": [name for name in weights if name not in views],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(view.shape)}"
            for name, view in views.items()
            if name in weights and weights[name].shape != view.shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(
            f"{len(of_kind)} {kind}: {', '.join(of_kind[:3])}{' …' if len(of_kind) > 3 else ''}"
            for kind, of_kind in problems.items()
            if of_kind
        )
        raise ValueError(f"the weights do not fit {owner}, which has {len(views)}: {found}")
