"""Conversion of weights between our names and those of the released checkpoints."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.flows.layers.actnorm import fill_missing_initialized
from invariances.utils.weights import mismatch

Names = tuple[tuple[str, str], ...]  # regular expressions for our names, and their replacements
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
COUPLING = re.compile(r"\.(first|second)\.(\d+)\.(weight|bias)$")


def as_released(state: Mapping[str, Tensor], names: Names) -> Iterator[tuple[str, Tensor]]:
    """Views of a flow's weights under the names, and in the shapes, of the released checkpoints.

    Released checkpoints store the scale network s and the shift network t of a coupling separately, with weights
    (out, in), and the layers of the dense embedder as 1×1 convolutions.

    Args:
        state: state dict of a `VectorTransformer` or `ConditionalTransformer`.
        names: `VECTOR` or `CONDITIONAL`, for the kind of flow.

    >>> state = {"flow.3.coupling.second.0.bias": torch.zeros(2, 1, 16)}
    >>> {name: tuple(view.shape) for name, view in as_released(state, VECTOR)}
    {'realnvp.flow.3.flow.1.s.1.main.0.bias': (16,), 'realnvp.flow.3.flow.1.t.1.main.0.bias': (16,)}
    """
    for name, tensor in state.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        if match := COUPLING.search(name):
            half, layer, kind = ("first", "second").index(match[1]), match[2], match[3]
            for network, view in zip("st", tensor, strict=True):
                released = f"{name[: match.start()]}.{network}.{half}.main.{layer}.{kind}"
                yield released, view.mT if kind == "weight" else view[0]
        else:
            linear = name.startswith("embedder.net.") and tensor.ndim == 2
            yield name, tensor[:, :, None, None] if linear else tensor


@torch.no_grad()
def load_released(module: nn.Module, weights: Mapping[str, Tensor], names: Names) -> None:
    """Load the weights of a released checkpoint into a flow, an autoencoder or a classifier, strictly.

    The `initialized` flags of ActNorms may be missing, see `fill_missing_initialized`.

    Args:
        module: receives the weights.
        weights: the checkpoint's names to tensors.
        names: from our names to the checkpoint's: `VECTOR`, `CONDITIONAL`, or those of `models.released_names`.

    Raises:
        InvalidInput: names are missing, unknown or of another shape; the module is unchanged then.
    """
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    views = dict(as_released(state, names))
    weights = fill_missing_initialized(weights, [name for name in views if name.endswith(".initialized")])
    if problem := mismatch(weights, views):
        raise InvalidInput(f"the weights do not fit {type(module).__name__}: {problem}")
    for name, view in views.items():
        view.copy_(weights[name])
    module.load_state_dict(state)
