"""List the layers at which a network can be split, from input to output, with the settings of a cINN for each.

At these layers, and at no others, the output depends on the input only through the layer. The list does not depend on
the weights; nothing is downloaded.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invariances.errors import InvalidInput, UserError
from invariances.utils.arguments import require_at_least

if TYPE_CHECKING:
    from invariances.models import Layer

HELP = "list the layers at which a network can be split"
EXAMPLES = """\
  invariances layers torchvision:resnet50
  invariances layers timm:vgg11 --size 128
  invariances layers invariances.models.DigitClassifier
  invariances layers latest:digits_clf
"""
HEADS = ("layer", "type", "shape", "conditioning_in_channels", "conditioning_spatial_size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and the options for the images' shape."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="torchvision:NAME, timm:NAME, a class such as package.Class, a checkpoint of a run, latest:EXPERIMENT, "
        "zoo:NAME, or hub:USER/NAME",
    )
    parser.add_argument("--size", type=int, metavar="N", help="side of the images in pixels (default: the model's)")
    parser.add_argument("--channels", type=int, metavar="N", help="channels of the images (default: the model's)")


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    from invariances.models import Greybox  # imports torch, which --help does not need

    given = {"--size": options.size, "--channels": options.channels}
    try:
        require_at_least(**{flag: (value, 1) for flag, value in given.items() if value is not None})
        found = Greybox.layers(_model(options.model), in_size=options.size, in_channels=options.channels)
    except (InvalidInput, ModuleNotFoundError) as error:
        raise UserError(f"{options.model}: {error}") from error
    print("\n".join(table(found)))


def _model(text: str) -> Any:
    """The argument `model` of `Greybox`: a name, or the network of a checkpoint."""
    from invariances.config.parts import load_network
    from invariances.training.run import LATEST, resolve_checkpoint
    from invariances.zoo import PREFIXES

    is_checkpoint = text.startswith((LATEST, *PREFIXES)) or Path(text).suffix == ".ckpt" or Path(text).exists()
    return load_network(resolve_checkpoint(text)) if is_checkpoint else text


def table(layers: "Sequence[Layer]") -> list[str]:
    """The lines of the table.

    >>> from invariances.models import Layer
    >>> for line in table([Layer("conv1", "Conv2d", (64, 16, 16))]):
    ...     print(line.rstrip())
    layer  type    shape         conditioning_in_channels  conditioning_spatial_size
    conv1  Conv2d  64 × 16 × 16  64                        16
    """
    rows = [HEADS, *((layer.name, layer.type, *_conditioning(layer.shape)) for layer in layers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)) for row in rows]


def _conditioning(shape: tuple[int, int, int]) -> tuple[str, str, str]:
    channels, height, width = shape
    side = str(height) if height == width else "a square map is needed"
    return f"{channels} × {height} × {width}", str(channels), side
