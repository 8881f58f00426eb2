"""List the layers at which a network can be split, from input to output, with the settings of a cINN for each.

At these layers, and at no others, the output depends on the input only through the layer. The list does not depend on
the weights; nothing is downloaded.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from invariances.config.allowing import remember
from invariances.errors import InvalidInput, UserError
from invariances.utils.arguments import require_at_least

if TYPE_CHECKING:
    from invariances.models import Layer
    from invariances.models.pretrained import LoadedNetwork

HELP = "list the layers at which a network can be split"
EXAMPLES = """\
  invariances layers torchvision:resnet50
  invariances layers timm:vgg11 --size 128
  invariances layers invariances.models.DigitClassifier
  invariances layers "{class: my_models.Net, width: 32}" --size 256 128
  invariances layers latest:digits_clf
"""
HEADS = ("layer", "type", "shape", "conditioning_in_channels", "conditioning_spatial_size", "embedder_down", "tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and the options for the images' shape."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="torchvision:NAME, timm:NAME, a class such as module:Class, a checkpoint of a run, latest:EXPERIMENT, "
        "zoo:NAME, or hub:USER/NAME",
    )
    parser.add_argument(
        "--size", type=int, nargs="+", metavar="N", help="side of the images, or height and width, in pixels"
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME", help="package whose classes a checkpoint may call"
    )
    parser.add_argument("--channels", type=int, metavar="N", help="channels of the images (default: the model's)")


def run(options: argparse.Namespace) -> None:
    """Print the table, and the preprocessing."""
    from invariances.models.greybox import listed_layers  # import torch, which --help does not need
    from invariances.models.pretrained import load_network

    remember(options.allow)
    try:
        size = _size(options.size)
        if options.channels is not None:
            require_at_least(**{"--channels": (options.channels, 1)})
        loaded = load_network(_model(options.model)).adapted(in_size=size, in_channels=options.channels)
        found = listed_layers(loaded)
    except (InvalidInput, ModuleNotFoundError) as error:
        raise UserError(f"{options.model}: {error}") from error
    print("\n".join([*table(found), "", images(loaded)]))


def _size(given: list[int] | None) -> int | list[int] | None:
    for side in given or ():
        require_at_least(**{"--size": (side, 1)})
    if given is not None and len(given) > 2:
        raise InvalidInput(f"--size has {len(given)} values; expected a side, or height and width")
    return given[0] if given is not None and len(given) == 1 else given


def images(loaded: "LoadedNetwork") -> str:
    """The images that a network is traced with, and the settings of their preprocessing, as in a config.

    >>> from invariances.models.pretrained import load_network
    >>> images(load_network("invariances.models.DigitClassifier"))
    'images: 3 × 32 × 32 in [-1, 1]; preprocess: none'
    """
    height, width = loaded.probe().shape[2:]
    settings = getattr(loaded.preprocess, "settings", "none")
    shown = yaml.safe_dump(settings, default_flow_style=True, sort_keys=False, width=999).splitlines()[0]
    return f"images: {loaded.in_channels} × {height} × {width} in [-1, 1]; preprocess: {shown}"


def _model(text: str) -> Any:
    """The argument `model` of `Greybox`: a name, a class with arguments, or the network of a checkpoint."""
    from invariances.config.parts import LIBRARIES, load_network
    from invariances.config.reading import parse
    from invariances.training.run import LATEST, resolve_checkpoint
    from invariances.zoo import PREFIXES

    if text.startswith("{"):
        return parse(text, "MODEL")
    is_checkpoint = text.startswith((LATEST, *PREFIXES)) or Path(text).suffix == ".ckpt" or Path(text).exists()
    if is_checkpoint:
        return load_network(resolve_checkpoint(text))
    return text if text.startswith(LIBRARIES) else text.replace(":", ".")  # module:Class too


def table(layers: "Sequence[Layer]") -> list[str]:
    """The lines of the table; the column `tokens` is that of transformers.

    >>> from invariances.models import Layer
    >>> for line in table([Layer("conv1", "Conv2d", (64, 16, 16))]):
    ...     print(line.rstrip())
    layer  type    shape         conditioning_in_channels  conditioning_spatial_size  embedder_down
    conv1  Conv2d  64 × 16 × 16  64                        16                         3
    """
    rows = [HEADS, *(_row(layer) for layer in layers)]
    if not any(layer.tokens for layer in layers):
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)) for row in rows]


def _row(layer: "Layer") -> tuple[str, ...]:
    from invariances.config.conditioning import conditioning

    try:
        settings = [str(conditioning(layer.shape).get(name, "-")) for name in HEADS[3:6]]
    except InvalidInput:
        settings = [str(layer.shape[0]), "a square map is needed", "-"]
    return layer.name, layer.type, " × ".join(map(str, layer.shape)), *settings, layer.tokens or "-"
