"""Names of layers: dotted ones, those of the papers, and the numbers of the papers' software."""

from collections.abc import Collection

from torch import nn

from invariances.errors import InvalidInput
from invariances.utils.names import nearest

HOW_TO_LIST = "list all with Greybox.layers(MODEL) or `invariances layers MODEL`"
WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before the names of their network

# Names in the papers, by class of network; those of ResNets are torchvision's own.
PAPERS = {
    "AlexNet": {
        **{f"conv{i}": f"features.{index}" for i, index in enumerate((1, 4, 7, 9, 11), start=1)},
        **{"fc6": "classifier.2", "fc7": "classifier.5", "fc8": "classifier.6"},
    }
}
# Layers in the order in which the papers' software numbered them. Flattening counted as one; the layer named in its
# place holds the same values.
NUMBERED = {
    "AlexNet": [
        "input",
        *(f"features.{i}" for i in range(13)),
        "avgpool",
        "classifier.0",  # dropout, which does nothing here, of the flattened map
        *(f"classifier.{i}" for i in range(7)),
        "softmax",
    ],
    "ResNet": [
        *("input", "conv1", "bn1", "relu", "maxpool"),
        *(f"layer{i}" for i in range(1, 5)),
        *("avgpool", "avgpool", "fc", "softmax"),
    ],
}


def layer_name(network: nn.Module, known: Collection[str], layer: str | None, split_idx: int | None) -> str:
    """The dotted name of a layer.

    Args:
        network: decides by its class which further names there are.
        known: dotted names of its layers; they take precedence.
        layer: dotted name, or the name in the papers.
        split_idx: number in the papers' software, in place of the name.

    Raises:
        InvalidInput: none of them or both are given, or there is no such layer.

    >>> import torchvision
    >>> network = torchvision.models.alexnet()
    >>> known = {"softmax", *dict(network.named_modules())}
    >>> layer_name(network, known, "fc6", None), layer_name(network, known, None, 12)
    ('classifier.2', 'features.11')
    """
    if (layer is None) == (split_idx is None):
        raise InvalidInput(f"layer is {layer!r} and split_idx {split_idx}; give one of them; {HOW_TO_LIST}")
    if layer is None:
        return _numbered(network, split_idx)
    others = PAPERS.get(type(network).__name__, {})
    name = layer if layer in known else others.get(layer, _unwrapped(layer))
    if name not in known:
        near = nearest(layer, {*known, *others})
        raise InvalidInput(f"layer {layer!r} does not exist{f'; nearest: {near}' if near else ''}; {HOW_TO_LIST}")
    return name


def _unwrapped(name: str) -> str:
    for prefix in WRAPPERS:
        name = name.removeprefix(prefix)
    return name


def _numbered(network: nn.Module, split_idx: int | None) -> str:
    kinds = [base.__name__ for base in type(network).__mro__]  # a class of one's own may derive from one of these
    kind = next((kind for kind in kinds if kind in NUMBERED), kinds[0])
    if kind not in NUMBERED:
        raise InvalidInput(f"split_idx is known for {', '.join(NUMBERED)}, not for {kind}; give layer; {HOW_TO_LIST}")
    names = NUMBERED[kind]
    if split_idx is None or split_idx not in range(len(names)):
        raise InvalidInput(f"split_idx is {split_idx}; expected 0 to {len(names) - 1} for {kind}")
    return names[split_idx]
