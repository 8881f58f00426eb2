"""Networks under study, loaded by name together with their preprocessing."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pickle import UnpicklingError

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from invariances.errors import InvalidInput, UserError
from invariances.utils.memory import is_out_of_memory
from invariances.utils.names import hint

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IN_SIZES = {"alexnet": 227}  # as in the published experiments; torchvision's default is 224


class Preprocess(nn.Module):
    """Resize and normalise images in [-1, 1] for a classifier of photographs: ((x + 1)/2 − mean)/std.

    Images of any size and aspect ratio are resized to size × size (bilinear, `align_corners=False`, no
    antialiasing).

    Args:
        size: side of the output in pixels.
        mean, std: of the training set in [0, 1], one value per channel; by default ImageNet's.

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
        """The size of the output, and the statistics that it is normalised with."""
        return f"size={self.size}, mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels size size"]:
        """Preprocess images (B, C, H, W) in [-1, 1] to (B, C, size, size), normalised."""
        x = functional.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        return ((x + 1) / 2 - self.mean.to(x)) / self.std.to(x)


@dataclass
class LoadedNetwork:
    """A network under study, its preprocessing, and the images it takes.

    Attributes:
        network: maps preprocessed images to its output.
        in_size, in_channels: side and channels of the images.
        preprocess: maps images in [-1, 1] to the network's input.

    >>> LoadedNetwork(nn.Flatten(), in_size=8).probe().shape
    torch.Size([2, 3, 8, 8])
    """

    network: nn.Module
    in_size: int = 224
    in_channels: int = 3
    preprocess: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)

    def probe(self) -> Float[Tensor, "2 channels size size"]:
        """Two random images in [-1, 1] from a fixed seed, with the dtype and device of the network's weights."""
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(2, self.in_channels, self.in_size, self.in_size, generator=generator) * 2 - 1
        return images.to(next(self.network.parameters(), images))


def load_network(model: nn.Module | str, weights: str | None = None) -> LoadedNetwork:
    """Load a network under study: a module, "torchvision:NAME", "timm:NAME" or a dotted import path.

    Args:
        model: a dotted path names a module, or a class or function that is called without arguments. Modules take
            images in [-1, 1] without preprocessing, of the size and channels in their attributes `in_size` and
            `in_channels`, by default 224 and 3.
        weights: name of pretrained weights (torchvision: IMAGENET1K_V1 …; timm: the tag), or DEFAULT; by default
            the weights are random.

    Raises:
        InvalidInput: a model or weights that do not exist.
        ModuleNotFoundError: timm is not installed.
        UserError: weights that cannot be downloaded or read.

    >>> loaded = load_network("invariances.models.DigitClassifier")
    >>> type(loaded.network).__name__, loaded.in_size, loaded.in_channels
    ('DigitClassifier', 32, 3)
    """
    source, _, name = model.partition(":") if isinstance(model, str) else ("", "", "")
    if source in LIBRARIES:
        return LIBRARIES[source](name, weights)
    if weights is not None:
        raise InvalidInput(f"weights {weights!r}: only torchvision: and timm: models have weights by name")
    network = model if isinstance(model, nn.Module) else _imported(model)
    return LoadedNetwork(network, getattr(network, "in_size", 224), getattr(network, "in_channels", 3))


def _torchvision(name: str, weights: str | None) -> LoadedNetwork:
    _check_known(name, torchvision.models.list_models(), "torchvision model")
    choices = torchvision.models.get_model_weights(name)
    if weights is not None:
        _check_known(weights, choices.__members__, f"weights of {name}")
    entry = choices[weights or "DEFAULT"]
    remedy = f"download {entry.url} and put it into {torch.hub.get_dir()}/checkpoints"
    with _explained(f"weights {entry.name} of torchvision:{name}", remedy):
        network = torchvision.models.get_model(name, weights=entry if weights else None)
    trained = entry.transforms()  # the crop size, where there is one, is the input size
    size = IN_SIZES.get(name) or getattr(trained, "crop_size", [224])[0]
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
    remedy = f"they come from the Hugging Face hub; try again when it can be reached, or by hand: {_by_hand(name)}"
    with _explained(f"weights of timm:{name}", remedy):
        network = timm.create_model(name, pretrained=weights is not None)
    trained = timm.data.resolve_model_data_config(network)
    in_channels, size, _ = trained["input_size"]
    return LoadedNetwork(network, size, in_channels, Preprocess(size, trained["mean"], trained["std"]))


def _by_hand(name: str) -> str:
    """How to bring the weights of a timm model to a machine that cannot reach the hub."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from timm import get_pretrained_cfg

    source = getattr(get_pretrained_cfg(name), "hf_hub_id", None) or f"timm/{name}"
    folder = f"models--{source.replace('/', '--')}"
    return f"run hf download {source} elsewhere, and copy the folder {folder} that it makes into {HF_HUB_CACHE}"


def _imported(path: str) -> nn.Module:
    module, _, attribute = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        expected = "expected torchvision:NAME, timm:NAME or an import path such as my_module.MyNetwork"
        raise InvalidInput(f"model {path!r} cannot be imported ({error}); {expected}") from error
    network = found if isinstance(found, nn.Module) else found()
    if not isinstance(network, nn.Module):
        raise InvalidInput(f"model {path!r} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _check_known(name: str, known: Iterable[str], what: str) -> None:
    if name not in (known := list(known)):
        raise InvalidInput(f"{what} {name!r} does not exist{hint(name, known)}")


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    """Turn failed downloads, wrong hashes and damaged files into a UserError; out of memory passes through."""
    try:
        yield
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}: {reason}; {remedy}") from error


LIBRARIES = {"torchvision": _torchvision, "timm": _timm}
