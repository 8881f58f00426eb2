"""Networks to study, by name, with the preprocessing that they were trained with."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pickle import UnpicklingError

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from invariances.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIZES = {"alexnet": 227}  # as in the published experiments; torchvision itself suggests 224


class Preprocess(nn.Module):
    """Images in [-1, 1] to what a classifier of photographs expects.

    Images of any size are resized to size × size, whatever their proportions (bilinear, half-pixel grid, no
    antialiasing); (x + 1)/2 takes them to [0, 1]; mean and spread of the training set normalise them.

    Args:
        size: side of the result in pixels.
        mean, std: of the training set in [0, 1], one number a channel; ImageNet's unless given.

    Example:
        >>> grey = torch.zeros(1, 3, 128, 128)
        >>> Preprocess(224)(grey)[0, :, 0, 0]
        tensor([0.0655, 0.1964, 0.4178])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, size: int, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def extra_repr(self) -> str:
        """The size, for `print`."""
        return f"size={self.size}"

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels size size"]:
        """(B, C, H, W) in [-1, 1] -> (B, C, size, size), normalised."""
        x = functional.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        return ((x + 1) / 2 - self.mean.to(x)) / self.std.to(x)


@dataclass
class LoadedNetwork:
    """A network under study.

    Attributes:
        network: maps preprocessed images to its output.
        in_size, in_channels: of images that suit it.
        preprocess: maps images in [-1, 1] to the network's input.
    """

    network: nn.Module
    in_size: int = 224
    in_channels: int = 3
    preprocess: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)

    def probe(self) -> Float[Tensor, "2 channels size size"]:
        """Two random images in [-1, 1], always the same, where the network's weights are."""
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(2, self.in_channels, self.in_size, self.in_size, generator=generator) * 2 - 1
        return images.to(next(self.network.parameters(), images))


def load_network(model: nn.Module | str, weights: str | None = None) -> LoadedNetwork:
    """The network that `model` names: a module, "torchvision:NAME", "timm:NAME" or a dotted import path.

    Args:
        model: a dotted path leads to a module, or to a class or function that is called without arguments.
            Modules get images as they are, in [-1, 1], of the size in their attributes `in_size` and
            `in_channels`, or 224 and 3.
        weights: name of pretrained weights (torchvision: IMAGENET1K_V1 …; timm: the tag), or DEFAULT.

    Raises:
        ValueError: a model or weights that do not exist.
        ModuleNotFoundError: timm is not installed.
        UserError: weights that cannot be downloaded or read.
    """
    source, _, name = model.partition(":") if isinstance(model, str) else ("", "", "")
    if source in LIBRARIES:
        return LIBRARIES[source](name, weights)
    if weights is not None:
        raise ValueError(f"weights {weights!r}: only torchvision: and timm: models have weights by name")
    network = model if isinstance(model, nn.Module) else _imported(model)
    return LoadedNetwork(network, getattr(network, "in_size", 224), getattr(network, "in_channels", 3))


def _torchvision(name: str, weights: str | None) -> LoadedNetwork:
    _check_known(name, torchvision.models.list_models(), "torchvision model")
    choices = torchvision.models.get_model_weights(name)
    if weights is not None:
        _check_known(weights, choices.__members__, f"weights of {name}")
    entry = choices[weights or "DEFAULT"]
    place = f"download {entry.url} and put it into {torch.hub.get_dir()}/checkpoints"
    with _naming_failures(f"weights {entry.name} of torchvision:{name}", place):
        network = torchvision.models.get_model(name, weights=entry if weights else None)
    trained = entry.transforms()  # classifiers state a crop size, which is the size they take
    size = SIZES.get(name) or getattr(trained, "crop_size", [224])[0]
    mean, std = getattr(trained, "mean", IMAGENET_MEAN), getattr(trained, "std", IMAGENET_STD)
    return LoadedNetwork(network, size, preprocess=Preprocess(size, mean, std))


def _timm(name: str, weights: str | None) -> LoadedNetwork:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"timm:{name} needs timm; install it with: pip install timm") from error
    _check_known(name, timm.list_models(include_tags=True) + timm.list_models(), "timm model")
    if weights not in (None, "DEFAULT"):
        tags = [full.removeprefix(f"{name}.") for full in timm.list_pretrained(f"{name}.*")]
        _check_known(weights, tags, f"weights of {name}")
        name = f"{name}.{weights}"
    place = "they come from the Hugging Face hub; try again when it can be reached"
    with _naming_failures(f"weights of timm:{name}", place):
        network = timm.create_model(name, pretrained=weights is not None)
    trained = timm.data.resolve_model_data_config(network)
    in_channels, size, _ = trained["input_size"]
    return LoadedNetwork(network, size, in_channels, Preprocess(size, trained["mean"], trained["std"]))


def _imported(path: str) -> nn.Module:
    module, _, attribute = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        expected = "expected torchvision:NAME, timm:NAME or an import path such as my_module.MyNetwork"
        raise ValueError(f"model {path!r} cannot be imported ({error}); {expected}") from error
    network = found if isinstance(found, nn.Module) else found()
    if not isinstance(network, nn.Module):
        raise ValueError(f"model {path!r} gives a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _check_known(name: str, known: Iterable[str], what: str) -> None:
    if name not in (known := list(known)):
        near = get_close_matches(name, known) or known[:3]
        raise ValueError(f"{what} {name!r} does not exist; nearest: {', '.join(near)}")


@contextmanager
def _naming_failures(what: str, remedy: str) -> Iterator[None]:
    """Failed downloads, wrong hashes and damaged files as one line that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}: {reason}; {remedy}") from error


LIBRARIES = {"torchvision": _torchvision, "timm": _timm}
