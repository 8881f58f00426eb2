"""Where the channels of a layer's output are: told by the layers around it, since the tensor does not say."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain

from torch import nn

from invariances.models.studied.layout import ChannelsLast, Map, Tokens, Vector
from invariances.models.studied.tracing import Call, Sizes

MOST_PREFIXED = 16  # class and register tokens of known transformers: 0 to 9
CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
)


def layout_of(index: int, calls: Sequence[Call], has_class: bool) -> Vector | None:
    """How the output of a call is to be read; None if it is neither vectors nor a map nor tokens.

    Args:
        index: of the call.
        calls: all calls of one forward pass, in the order in which they ended.
        has_class: whether the first of several tokens is a class token.
    """
    shape = calls[index].returned or ()
    if len(shape) == 2:
        return Vector()
    if len(shape) not in (3, 4):
        return None
    last = _last(index, calls)
    if len(shape) == 4:
        return ChannelsLast() if (_looks_last(shape) if last is None else last) else Map()
    return _tokens(shape[1], calls[: index + 1], has_class) if last else None


def _last(index: int, calls: Sequence[Call]) -> bool | None:
    """Whether the channels are last: the word of the nearest call with such an output before, or input after."""
    shape = calls[index].returned or ()
    before = ((call.module, call.returned) for call in reversed(calls[: index + 1]))
    after = ((call.module, call.given) for call in calls[index + 1 :])
    for module, other in chain(before, after):
        if other is not None and _alike(shape, other) and (last := _acts_on_last(module, other)) is not None:
            return last
    return None


def _alike(one: Sizes, other: Sizes) -> bool:
    """Maps of one shape; or tokens of one width, whose number differs before and after a class token is added."""
    return len(one) == len(other) and (one[1:] == other[1:] if len(one) == 4 else one[2] == other[2])


def _acts_on_last(module: nn.Module, shape: Sizes) -> bool | None:
    """Whether a module takes the last dimension as channels, and not the one after the batch's."""
    if isinstance(module, CHANNELS_FIRST):
        return False
    if isinstance(module, nn.Linear):
        return True
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        width = module.normalized_shape[0]  # subclasses such as LayerNorm2d normalise the channels of maps
        return shape[-1] == width and not (shape[1] == width and type(module).__name__.endswith("2d"))
    return None


def _looks_last(shape: Sizes) -> bool:
    """Whether a map would be square with its channels last, and is not with its channels first."""
    return shape[1] == shape[2] != shape[3]


def _tokens(n: int, calls: Sequence[Call], has_class: bool) -> Tokens:
    for height, width in _grids(n, calls):
        if 0 <= n - height * width <= MOST_PREFIXED:
            return Tokens("all", n - height * width, (height, width), has_class)
    return Tokens("all", has_class=has_class)


def _grids(n: int, calls: Sequence[Call]) -> Iterator[tuple[int, int]]:
    """Grids of patches that n tokens may have: those of the maps computed before, then squares."""
    for call in reversed(calls):
        if isinstance(call.module, CHANNELS_FIRST) and call.returned is not None and len(call.returned) == 4:
            yield call.returned[2], call.returned[3]
    for patches in (n, n - 1):
        side = math.isqrt(patches)
        if side * side == patches:
            yield side, side
