"""At which layers a network is studied."""

from collections.abc import Sequence

from invariances.config.conditioning import conditioning
from invariances.errors import InvalidInput, UserError
from invariances.models import Layer
from invariances.utils.names import hint

SKIPPED = ("Identity", "Dropout", "Dropout2d", "Flatten")  # whose output is their input, or its values in another shape
TOKENS = ("patches", "mean", "cls")  # of a transformer's layer, in the order of preference


def choose(layers: Sequence[Layer], n: int, largest: int | None = None) -> list[Layer]:
    """Layers spread over the depth of a network, from input to output.

    The last is the output, the one before it the last layer of another shape; the others are spread over those places
    where the shape changes. If these are too few, layers in between are added.

    Args:
        layers: at which the network can be split, in the order of the forward pass.
        n: number of layers, fewer if there are no more.
        largest: most numbers of a representation, unless n layers have more.

    >>> shapes = [(16, 8, 8), (16, 8, 8), (32, 4, 4), (64, 2, 2), (10, 1, 1)]
    >>> names = ["stem", "stage1", "stage2", "stage3", "fc"]
    >>> net = [Layer(name, "Sequential", shape) for name, shape in zip(names, shapes, strict=True)]
    >>> [layer.name for layer in choose(net, 3)]
    ['stage2', 'stage3', 'fc']
    >>> [layer.name for layer in choose(net, 5)]
    ['stem', 'stage1', 'stage2', 'stage3', 'fc']
    """
    usable = _of_size(candidates(layers), n, largest)
    if not usable:
        raise UserError("the network has no layer that a study can use; see: invariances layers MODEL")
    ends = _ends(usable, n)
    logits, before = ends[-1:], ends[:-1]
    chosen = [*_spread(before[:-1], n - 2), *before[-1:], *logits][-n:] if n > 1 else logits
    others = [layer for layer in usable if layer not in chosen and layer.shape != logits[0].shape]
    while len(chosen) < n and others:
        chosen.append(added := min(others, key=lambda layer: (-_gap(layer, chosen, usable), layer.name.count("."))))
        others.remove(added)
    return sorted(chosen, key=usable.index)


def named(layers: Sequence[Layer], names: Sequence[str]) -> list[Layer]:
    """The layers of these names, from input to output.

    Raises:
        UserError: a layer at which the network cannot be split.
    """
    known = candidates(layers, skipped=())
    for name in names:
        if name not in [layer.name for layer in known]:
            near = hint(name, [layer.name for layer in known])
            raise UserError(f"--layers {name}: the network cannot be split there{near}; see: invariances layers MODEL")
    return [layer for layer in known if layer.name in names]


def candidates(layers: Sequence[Layer], skipped: Sequence[str] = SKIPPED) -> list[Layer]:
    """Layers that can condition a flow, each output once, under its shortest name."""
    found: list[Layer] = []
    for layer in layers:
        if layer.name in ("input", "softmax") or layer.type in skipped or not _is_square(layer):
            continue
        if found and found[-1].name == layer.name:  # another choice of its tokens
            if _preference(layer) < _preference(found[-1]):
                found[-1] = layer
            continue
        if skipped and found and found[-1].name.startswith(f"{layer.name}.") and found[-1].shape == layer.shape:
            found.pop()  # the last part of this layer
        found.append(layer)
    return found


def _of_size(layers: Sequence[Layer], n: int, largest: int | None) -> list[Layer]:
    """Those with at most so many numbers; if these are less than n, the n with the fewest."""
    if largest is None or not layers:
        return list(layers)
    most = max(largest, sorted(map(_n_values, layers))[:n][-1])
    return [layer for layer in layers if _n_values(layer) <= most]


def _preference(layer: Layer) -> int:
    return TOKENS.index(layer.tokens) if layer.tokens in TOKENS else -1


def _is_square(layer: Layer) -> bool:
    try:
        return bool(conditioning(layer.shape))
    except InvalidInput:
        return False


def _n_values(layer: Layer) -> int:
    channels, height, width = layer.shape
    return channels * height * width


def _ends(layers: Sequence[Layer], n: int) -> list[Layer]:
    """The last layer of each shape; those with the shortest dotted names, if there are n of them."""
    ends = [a for a, b in zip(layers, [*layers[1:], None], strict=True) if b is None or a.shape != b.shape]
    for dots in sorted({layer.name.count(".") for layer in ends}):
        outer = [layer for layer in ends if layer.name.count(".") <= dots or layer is ends[-1]]
        if len(outer) >= n:
            return outer
    return ends


def _spread(layers: Sequence[Layer], n: int) -> list[Layer]:
    """The first, the last, and n − 2 layers between them."""
    if n <= 0 or not layers:
        return []
    if n == 1:
        return [layers[len(layers) // 2]]
    places = {round(i * (len(layers) - 1) / (n - 1)) for i in range(n)}
    return [layers[place] for place in sorted(places)]


def _gap(layer: Layer, chosen: Sequence[Layer], layers: Sequence[Layer]) -> int:
    """Distance to the nearest chosen layer."""
    return min(abs(layers.index(layer) - layers.index(other)) for other in chosen)
