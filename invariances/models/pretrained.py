"""Networks under study, loaded together with their weights and their preprocessing."""

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from invariances.errors import InvalidInput, UserError
from invariances.models.studied.preprocess import Preprocess
from invariances.models.studied.weight_files import is_file, load_file
from invariances.utils.hub_client import answering, is_of_client
from invariances.utils.memory import is_out_of_memory
from invariances.utils.names import class_hint, hint

Size = int | Sequence[int]
Model = nn.Module | str | Mapping[str, Any]
PUBLISHED = {"alexnet": 227}  # side in pixels in the published experiments; torchvision's weights state another
UNCHANGED: dict[str, Any] = {"size": None, "mean": (0.5,), "std": (0.5,)}  # settings that leave images as they are
WITHOUT = "weights: null uses random ones"


@dataclass
class LoadedNetwork:
    """A network under study, its preprocessing, and the images it takes.

    Attributes:
        network: maps preprocessed images to its output.
        in_size, in_channels: side, or (height, width), and channels of the images.
        preprocess: maps images in [-1, 1] to the network's input.
        cautions: what to know about its weights, a line each.

    >>> LoadedNetwork(nn.Flatten(), in_size=8).probe().shape
    torch.Size([2, 3, 8, 8])
    """

    network: nn.Module
    in_size: Size = 224
    in_channels: int = 3
    preprocess: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)
    cautions: list[str] = field(default_factory=list)

    def probe(self, seed: int = 0) -> Float[Tensor, "2 channels height width"]:
        """Two random images in [-1, 1], on the device of the network's weights, in their precision or single."""
        height, width = (self.in_size, self.in_size) if isinstance(self.in_size, int) else self.in_size
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(2, self.in_channels, height, width, generator=generator) * 2 - 1
        weight = next(self.network.parameters(), images)
        return images.to(weight.device, torch.promote_types(images.dtype, weight.dtype))

    def adapted(
        self,
        preprocess: Callable[[Tensor], Tensor] | Mapping[str, Any] | None = None,
        in_size: Size | None = None,
        in_channels: int | None = None,
    ) -> "LoadedNetwork":
        """The same network for other images.

        Args:
            preprocess: in place of the network's own, or settings of `Preprocess` that differ from it. A new `size`
                without `resize` means no crop.
            in_size: by default the size that the preprocessing states, if it is given.
            in_channels: by default the number of means, for a network that does not state it.

        Raises:
            InvalidInput: settings that do not exist, or do not fit the channels.
        """
        if isinstance(preprocess, Mapping):
            states_channels = isinstance(self.preprocess, Preprocess) or hasattr(self.network, "in_channels")
            settings = self._settings(preprocess)
            if in_channels is None and "mean" in preprocess and not states_channels:
                in_channels = len(settings.mean)
            preprocess = settings
        size = preprocess.size if isinstance(preprocess, Preprocess) else None
        changes: dict[str, Any] = {"preprocess": preprocess, "in_size": in_size or size, "in_channels": in_channels}
        adapted = replace(self, **{name: value for name, value in changes.items() if value is not None})
        return adapted._checked()

    def _settings(self, given: Mapping[str, Any]) -> Preprocess:
        known = Preprocess(None).settings
        if unknown := [name for name in given if name not in known]:
            raise InvalidInput(f"preprocess/{unknown[0]}: unknown setting{hint(unknown[0], known)}")
        base = self.preprocess.settings if isinstance(self.preprocess, Preprocess) else UNCHANGED
        uncropped = {"resize": None} if "size" in given else {}
        return Preprocess(**{**base, **uncropped, **given})

    def _checked(self) -> "LoadedNetwork":
        mean = getattr(self.preprocess, "mean", ())
        if isinstance(self.preprocess, Preprocess) and len(mean) not in (1, self.in_channels):
            raise InvalidInput(f"preprocess/mean has {len(mean)} values; expected {self.in_channels}, one per channel")
        return self


def load_network(model: Model, weights: str | Path | None = None, weights_partial: bool = False) -> LoadedNetwork:
    """Load a network under study.

    Args:
        model: a module; "torchvision:NAME", "timm:NAME", or the dotted path of a module, or of a class or function
            that returns one; with arguments as {"class": NAME, argument: value}. Modules take images in [-1, 1]
            without preprocessing, of the size and channels in their attributes `in_size` and `in_channels`, by
            default 224 and 3. A module inside of DataParallel or `torch.compile` is used without it.
        weights: name of pretrained weights (torchvision: IMAGENET1K_V1 …; timm: the tag; or DEFAULT), or a file, see
            `weight_files.load_file`; by default those that the model is made with, which are random.
        weights_partial: whether weights may be missing in the file.

    Raises:
        InvalidInput: a model or weights that do not exist.
        ModuleNotFoundError: timm is not installed.
        UserError: weights that cannot be downloaded or read, or do not fit.

    >>> loaded = load_network("invariances.models.DigitClassifier")
    >>> type(loaded.network).__name__, loaded.in_size, loaded.in_channels
    ('DigitClassifier', 32, 3)
    """
    given = None if weights is None else str(weights)
    named, file = (None, given) if given is not None and _is_file(model, given) else (given, None)
    loaded = _make(model, named)
    if weights_partial and file is None:
        raise InvalidInput(f"weights_partial is true and weights is {given!r}; expected a file of weights")
    if file is not None:
        missing = load_file(loaded.network, file, weights_partial)
        loaded.cautions += [missing] if missing else []
    elif given is None and not isinstance(model, nn.Module):
        loaded.cautions.append(random_weights(model))
    return loaded


def random_weights(model: Model) -> str:
    """What to know about a network without given weights.

    >>> random_weights("torchvision:alexnet")
    'torchvision:alexnet has random weights: none are given'
    """
    name, _ = class_and_arguments(model)
    if _library(name):
        return f"{name} has random weights: none are given"
    return f"{name} has the weights of its constructor, random unless it loads some: none are given"


def class_and_arguments(model: Model) -> tuple[Any, dict[str, Any]]:
    """The name of a model and its arguments.

    Raises:
        InvalidInput: a mapping without `class`.
    """
    if not isinstance(model, Mapping):
        return model, {}
    if "class" not in model:
        raise InvalidInput(f"model is {dict(model)}; expected class and its arguments")
    return model["class"], {name: value for name, value in model.items() if name != "class"}


def _is_file(model: Model, weights: str) -> bool:
    """Whether weights are a file; only models of libraries have weights by name."""
    name, _ = class_and_arguments(model)
    if is_file(weights):
        return True
    if not _library(name):
        only = "only torchvision: and timm: models have weights by name"
        raise InvalidInput(f"weights {weights!r}: no such file, and {only}; expected a file")
    return False


def _library(model: Any) -> str | None:
    source = model.partition(":")[0] if isinstance(model, str) else ""
    return source if source in LIBRARIES else None


def _make(model: Model, weights: str | None) -> LoadedNetwork:
    name, arguments = class_and_arguments(model)
    if source := _library(name):
        return LIBRARIES[source](name.partition(":")[2], weights, arguments)
    network = unwrapped(name if isinstance(name, nn.Module) else _imported(name, arguments))
    return LoadedNetwork(network, getattr(network, "in_size", 224), getattr(network, "in_channels", 3))


def unwrapped(network: nn.Module) -> nn.Module:
    """A network without the wrappers of several devices and of `torch.compile`.

    >>> type(unwrapped(nn.DataParallel(nn.Flatten()))).__name__
    'Flatten'
    """
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(network.module)
    inner = getattr(network, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else network


def _torchvision(name: str, weights: str | None, arguments: dict[str, Any]) -> LoadedNetwork:
    _check_known(name, torchvision.models.list_models(), "torchvision model")
    choices = torchvision.models.get_model_weights(name)
    if weights is not None:
        _check_known(weights, choices.__members__, f"weights of {name}", "or a file")
    entry = choices[weights or "DEFAULT"]
    remedy = f"download {entry.url} and put it into {torch.hub.get_dir()}/checkpoints; {WITHOUT}"
    with _refused(f"torchvision:{name}"), _explained(f"weights {entry.name} of torchvision:{name}", remedy):
        network = torchvision.models.get_model(name, weights=entry if weights else None, **arguments)
    preprocess = Preprocess(PUBLISHED[name]) if name in PUBLISHED else _stated(entry.transforms())
    return LoadedNetwork(network, preprocess.size or 224, preprocess=preprocess)


def _stated(transforms: Any) -> Preprocess:
    """What weights of torchvision state; ImageNet's protocol for those of other tasks than classification."""
    if not hasattr(transforms, "crop_size"):
        return Preprocess(224)
    return Preprocess(
        transforms.crop_size[0],
        transforms.mean,
        transforms.std,
        resize=transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
        antialias=bool(transforms.antialias),
    )


def _timm(name: str, weights: str | None, arguments: dict[str, Any]) -> LoadedNetwork:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"timm:{name} needs timm; install it with: pip install timm") from error
    _check_known(name, timm.list_models(include_tags=True) + timm.list_models(), "timm model")
    if weights not in (None, "DEFAULT"):
        tags = [full.removeprefix(f"{name}.") for full in timm.list_pretrained(f"{name}.*")]
        _check_known(weights, tags, f"weights of {name}", "or a file")
        name = f"{name}.{weights}"
    remedy = "they come from the Hugging Face hub; try again when it can be reached, or by hand: "
    remedy += f"{_by_hand(name)}; {WITHOUT}"
    reaching = nullcontext() if weights is None else answering()
    with _refused(f"timm:{name}"), _explained(f"weights of timm:{name}", remedy), reaching:
        network = timm.create_model(name, pretrained=weights is not None, **arguments)
    trained = timm.data.resolve_model_data_config(network)
    in_channels, height, width = trained["input_size"]
    size = height if height == width else (height, width)
    squeezed = trained["crop_mode"] == "squash" and trained["crop_pct"] == 1
    preprocess = Preprocess(
        size,
        trained["mean"],
        trained["std"],
        resize=None if squeezed else math.floor(min(height, width) / trained["crop_pct"]),
        interpolation=trained["interpolation"],
        antialias=True,  # as Pillow, which timm uses
    )
    return LoadedNetwork(network, size, in_channels, preprocess)


def _by_hand(name: str) -> str:
    """How to bring the weights of a timm model to a machine that cannot reach the hub."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from timm import get_pretrained_cfg

    source = getattr(get_pretrained_cfg(name), "hf_hub_id", None) or f"timm/{name}"
    folder = f"models--{source.replace('/', '--')}"
    return f"run hf download {source} elsewhere, and copy the folder {folder} that it makes into {HF_HUB_CACHE}"


def _imported(path: Any, arguments: dict[str, Any]) -> nn.Module:
    module, _, attribute = str(path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        expected = "expected torchvision:NAME, timm:NAME or an import path such as my_module.MyNetwork"
        raise InvalidInput(f"model {path!r} cannot be imported ({error}); {expected}{class_hint(str(path))}") from error
    network = found if isinstance(found, nn.Module) else _called(found, path, arguments)
    if not isinstance(network, nn.Module):
        raise InvalidInput(f"model {path!r} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _called(make: Callable[..., Any], path: str, arguments: dict[str, Any]) -> Any:
    """What a class or function makes of its arguments; errors inside of it keep their traceback."""
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        example = f'"{{class: {path}, ARGUMENT: VALUE}}"'
        raise InvalidInput(f"model {path!r} cannot be made: {error}; arguments are written as {example}") from error
    return make(**arguments)


def _check_known(name: str | None, known: Iterable[str], what: str, other: str = "") -> None:
    if name not in (known := list(known)):
        raise InvalidInput(f"{what} {name!r} does not exist{hint(name, known)}{f', {other}' if other else ''}")


@contextmanager
def _refused(model: str) -> Iterator[None]:
    """Turn a library's refusal of arguments into InvalidInput."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{model}: {str(error).splitlines()[0]}") from error


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    """Turn failed downloads, wrong hashes and damaged files into a UserError; out of memory passes through."""
    try:
        yield
    except Exception as error:
        of_files = isinstance(error, (OSError, RuntimeError, EOFError, UnpicklingError))
        if is_out_of_memory(error) or not (of_files or is_of_client(error)):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}: {reason}; {remedy}") from error


LIBRARIES: dict[str, Callable[[str, str | None, dict[str, Any]], LoadedNetwork]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}
