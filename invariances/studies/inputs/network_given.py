"""The network under study: loaded, with the size, channels and preprocessing of its images, and its accuracy."""

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from invariances.config.allowing import lies_here, remember
from invariances.config.classes import locate
from invariances.config.nodes import class_and_arguments
from invariances.config.parts import LIBRARIES, NETWORK, load_network
from invariances.config.reading import parse
from invariances.config.signatures import make, mistakes, parameters, show
from invariances.errors import InvalidInput, UserError
from invariances.evaluation.metrics.estimate import Estimate
from invariances.models.pretrained import LoadedNetwork
from invariances.models.pretrained import load_network as load_studied
from invariances.models.splitting import rows_of
from invariances.models.studied.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from invariances.models.studied.tracing import evaluating
from invariances.models.studied.weight_files import load_file
from invariances.studies.inputs.pictures_given import GivenImages
from invariances.training.run import LATEST, resolve_checkpoint
from invariances.utils.files import atomic_write
from invariances.utils.memory import is_out_of_memory
from invariances.utils.weights import fingerprint
from invariances.zoo import PREFIXES

USUAL_SIDES = (28, 32, 64, 96, 128, 224, 227)  # tried where a network of the user's does not state its own
JUDGED = 200  # images for the accuracy
COMPARED, SMALL = 600, 64  # images for it if they have at most this side
LEAST_JUDGED = 24  # of large networks, which get through few in the seconds of a plan
WORK = 400_000_000_000  # floating-point operations for it, some seconds of one processor
LEAST_MAPPED = 5  # images of each class from which on other classes can be read as those of the images
BATCH = 20
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "[-1, 1]": ((0.5,), (0.5,)),
    "[0, 1]": ((0.0,), (1.0,)),
    "[0, 255]": ((0.0,), (1 / 255,)),
    "ImageNet's mean and std": (IMAGENET_MEAN, IMAGENET_STD),
}
EXAMPLE = "'{mean: .5, std: .5}'"  # of --preprocess: images in [-1, 1]
TORCH = f"{Path(torch.__file__).parent}{os.sep}"
OWN_STATISTICS = "the data's mean and std"


@dataclass(frozen=True)
class Accuracy:
    """How often the network is right on held-out images.

    Attributes:
        value: share of the images.
        chance: share of the most frequent class.
        mapped: whether the network's classes are others than those of the images, and each was read as the class of
            the images that it occurs in most often, on other images.
        n_images: number of images.
    """

    value: float
    chance: float
    mapped: bool
    n_images: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval.

        >>> low, high = Accuracy(0.9, 0.1, mapped=False, n_images=100).interval
        >>> round(low, 3), round(high, 3)
        (0.824, 0.945)
        """
        right = torch.arange(self.n_images) < round(self.value * self.n_images)
        return Estimate.proportion(right.double()).interval


@dataclass(frozen=True)
class GivenNetwork:
    """The network under study.

    Attributes:
        section: `GreyboxModel` of the configs, without the layer.
        loaded: the network with its preprocessing, for images of its size.
        is_random: whether its weights are random.
        size: side of the images that it takes; that of the study's images if it takes any.
        channels: of the study's images.
        accuracy: None without labels, if its output is no list of classes, or if these are others than those of the
            images, and too few images are there, or are gone through in some seconds, to match them.
        identity: a hash of architecture and weights.
        is_guessed: whether nothing states how its images are normalised, and no accuracy tells.
        notes: what was decided, a sentence each.
    """

    section: dict[str, Any]
    loaded: LoadedNetwork
    is_random: bool
    size: int
    channels: int
    accuracy: Accuracy | None
    identity: str
    is_guessed: bool = False
    notes: tuple[str, ...] = field(default_factory=tuple)


def given_network(
    model: str,
    weights: str | None,
    preprocess: str | None,
    images: GivenImages,
    folder: Path | None,
    size_for: Callable[[int], int],
) -> GivenNetwork:
    """Load the network and find out what images it takes.

    Args:
        model, weights, preprocess: see `Request`.
        images: of the study.
        folder: of the study; random weights are kept there, so that all trainings see the same network; None keeps
            nothing.
        size_for: side of the network's images -> side of the study's images.

    Raises:
        UserError: it cannot be loaded, does not take the images, or does not return one tensor.
    """
    try:
        section, loaded, random = _loaded(model, weights)
        settings = _settings(preprocess)
        channels = _channels(loaded, images)
        found = _Input(loaded, images, channels, size_for)
        chosen = found.stated(settings) if _states_input(section, loaded) else found.best(settings, random)
        adapted = loaded.adapted(chosen.settings or None, chosen.size, channels)
    except (InvalidInput, ModuleNotFoundError) as error:
        raise UserError(f"{model}: {error}") from error
    if random and folder is not None:
        section = section | {"weights": str(_kept(adapted.network, folder))}
    section |= {"in_size": chosen.size, "in_channels": channels}
    section |= {"preprocess": chosen.settings} if chosen.settings else {}
    return GivenNetwork(
        section,
        adapted,
        random,
        chosen.size,
        channels,
        chosen.accuracy,
        fingerprint(adapted.network),
        chosen.is_guessed,
        chosen.notes,
    )


def _settings(preprocess: str | None) -> dict[str, Any]:
    """What the user states, settings of `Preprocess`; nothing if they state none."""
    settings = parse(preprocess, "--preprocess") if preprocess else {}
    if not isinstance(settings, Mapping):
        raise UserError(f"--preprocess {preprocess}: {show(settings)}; expected settings such as {EXAMPLE}")
    if found := next(mistakes(Preprocess, {"size": None, **settings}, "--preprocess"), None):
        raise UserError(found)
    return dict(settings)


def _loaded(model: str, weights: str | None) -> tuple[dict[str, Any], LoadedNetwork, bool]:
    """The section of the config, the network, and whether its weights are random."""
    if Path(model).suffix == ".py":
        raise UserError(f"{model}: is no network; name a class in it, such as {Path(model).stem}:Net")
    if model.startswith((LATEST, *PREFIXES)) or Path(model).suffix == ".ckpt" or Path(model).exists():
        if weights is not None:
            raise UserError(f"--weights {weights}: {model} holds its weights; leave out --weights")
        path = resolve_checkpoint(model)
        return {"checkpoint": str(path)}, load_studied(load_network(path)), False
    node: Any = parse(model, "MODEL") if model.startswith("{") else model
    path, arguments = class_and_arguments(node)
    if isinstance(path, str) and path.startswith(LIBRARIES):
        loaded = load_studied(node, weights)
        return {"model": node} | ({"weights": weights} if weights else {}), loaded, weights is None
    dotted = str(path).replace(":", ".")
    if lies_here(module := dotted.rpartition(".")[0]):
        remember({module})
    network = _made(locate(dotted, "MODEL", NETWORK), dotted, arguments)
    if weights is not None:
        load_file(network, weights)
    section = {"model": {"class": dotted, **arguments} if arguments else dotted}
    loaded = load_studied(network)
    return section | ({"weights": weights} if weights else {}), loaded, weights is None


def _made(cls: type, dotted: str, arguments: dict[str, Any]) -> nn.Module:
    """The network of a class of the user's."""
    if found := next(mistakes(cls, arguments, "MODEL"), None):
        needed = [name for name, p in parameters(cls)[0].items() if p.default is p.empty]
        example = ", ".join([f"class: {dotted}", *(f"{name}: …" for name in needed or ["ARGUMENT"])])
        raise UserError(f'{found}; write "{{{example}}}"')
    with _placed(f"MODEL: {dotted} cannot be made"):
        return make(cls, arguments, "MODEL")


def _states_input(section: Mapping[str, Any], loaded: LoadedNetwork) -> bool:
    """Whether a library or the network itself says what images it takes."""
    path, _ = class_and_arguments(section.get("model", ""))
    return str(path).startswith(LIBRARIES) or hasattr(loaded.network, "in_size")


def _channels(loaded: LoadedNetwork, images: GivenImages) -> int:
    """Channels of the images: the network's first layer says what it takes."""
    if hasattr(loaded.network, "in_channels") or loaded.in_channels != 3:
        return int(loaded.in_channels)
    first = next((m for m in loaded.network.modules() if isinstance(m, nn.Conv2d)), None)
    found = first.in_channels if first is not None else _tried_channels(loaded, images)
    if found not in (1, 3, images.shape[0]):
        raise UserError(f"the network takes {found} channels, and images have {images.shape[0]}; expected 1 or 3")
    return found


@dataclass(frozen=True)
class _Choice:
    """Images as the network takes them.

    Attributes:
        size: side of the study's images.
        settings: of `Preprocess`.
        accuracy: of the network with them.
        notes: for people.
        is_guessed: see `GivenNetwork`.
    """

    size: int
    settings: dict[str, Any]
    accuracy: Accuracy | None
    notes: tuple[str, ...] = ()
    is_guessed: bool = False


@dataclass(frozen=True)
class _Input:
    """Finds out what images a network takes."""

    loaded: LoadedNetwork
    images: GivenImages
    channels: int
    size_for: Callable[[int], int]

    def stated(self, settings: dict[str, Any]) -> _Choice:
        """What the network itself states, where the user does not state otherwise."""
        size = self.size_for(_side(settings.get("size") or self.loaded.in_size))
        return _Choice(size, settings, self._accuracy(size, settings))

    def best(self, stated: dict[str, Any], random: bool) -> _Choice:
        """The side and the normalisation with which the network is most often right.

        The first ones where this cannot be told, because there are no labels, or because its weights are random.

        Args:
            stated: settings of the user, which are not searched.
            random: whether the weights are.
        """
        own = stated.get("size")
        tried: list[_Choice] = []
        for side in [_side(own)] if own else _runnable(self.loaded, self.images, self.channels):
            size = self.size_for(side)
            for name, settings in self._normalizations(stated, size):
                settings = stated | settings | {"size": own or (side if side != size else None)}
                found = self._accuracy(size, settings, n_tried=len(NORMALIZATIONS) + 1)
                tried.append(_Choice(size, settings, found, (f"{side} px in {name}",)))
                if tried[-1].accuracy is None or random:
                    break  # nothing to compare
        best = tried[0]
        for choice in tried[1:]:
            if choice.accuracy and best.accuracy and choice.accuracy.value > best.accuracy.value:
                best = choice
        told = best.accuracy is not None and not random
        why = "is most often right with" if told and len(tried) > 1 else "is taken to expect"
        note = f"the network {why} images of {best.notes[0]}; --preprocess sets others"
        return replace(best, notes=(note,), is_guessed=not told and not is_normalization(stated))

    def _accuracy(self, size: int, settings: dict[str, Any], n_tried: int = 1) -> Accuracy | None:
        """How often the network is right; None without labels, or if its output is no list of classes.

        One of so many that are tried; each gets its share of the time.
        """
        network = self.loaded.adapted(settings or None, size, self.channels)
        image, labels = self.images.examples("validation", size, self.channels, 1)
        logits, operations = counted_outputs(network, image)
        n, n_classes = self._n_judged(size, operations * n_tried), self.images.classes or 0
        if labels is None or logits.ndim != 2 or logits.shape[1] < 2:
            return None
        if logits.shape[1] != n_classes and n < LEAST_MAPPED * n_classes:
            return None
        examples, labels = self.images.examples("validation", size, self.channels, n)
        assert labels is not None
        return accuracy(outputs(network, examples), labels, n_classes)

    def _n_judged(self, size: int, operations: int) -> int:
        most = min(COMPARED if size <= SMALL else JUDGED, self.images.n_validation)
        return min(most, max(LEAST_JUDGED, WORK // max(1, operations)))

    def _normalizations(self, stated: dict[str, Any], size: int) -> Iterator[tuple[str, dict[str, Any]]]:
        if is_normalization(stated):
            yield "the normalisation that is stated", {}
            return
        for name, (mean, std) in NORMALIZATIONS.items():
            if len(mean) in (1, self.channels):
                yield name, {"mean": list(mean), "std": list(std)}
        pixels = (self.images.examples("train", size, self.channels, JUDGED)[0] + 1) / 2
        means = [round(value, 3) for value in pixels.mean(dim=(0, 2, 3)).tolist()]
        deviations = [round(max(value, 0.01), 3) for value in pixels.std(dim=(0, 2, 3)).tolist()]
        yield OWN_STATISTICS, {"mean": means, "std": deviations}


def _tried_channels(loaded: LoadedNetwork, images: GivenImages) -> int:
    """Those of the images, or grey, whichever a network without convolutions takes."""
    for channels in (images.shape[0], 1):
        with suppress(UserError):
            _runnable(loaded, images, channels)
            return channels
    return images.shape[0]


def _side(size: Any) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UserError(f"the network takes images of {height} × {width} pixels; expected square ones")
    return int(height)


def is_normalization(settings: Mapping[str, Any]) -> bool:
    """Whether settings of `Preprocess` say how images are normalised."""
    return not settings.keys().isdisjoint({"mean", "std"})


def _runnable(loaded: LoadedNetwork, images: GivenImages, channels: int) -> list[int]:
    """The sides that the network takes: that of the images first.

    Raises:
        UserError: it takes none of them.
    """
    own = images.shape[1]
    wanted = [own, *(side for side in USUAL_SIDES if side != own)] if images.sizes else [own]
    found: list[int] = []
    failures: list[str] = []
    for side in wanted:
        if found and not (images.sizes and side in (28, 32) and own <= 32):
            break  # one that fits is enough; only small images may have been trained at another size
        try:
            with evaluating(loaded.network), torch.no_grad():
                loaded.network(torch.zeros(2, channels, side, side))
            found.append(side)
        except Exception as error:  # any error of a user's network; the message has its place
            if is_out_of_memory(error):
                raise
            failures.append(failure(error))
    if not found:
        always = len(failures) > 1 and len(set(failures)) == 1  # so that no size helps
        remedy = "" if always else "; --preprocess '{size: N}' states the size that it takes"
        raise UserError(f"the network fails on images of {channels} × {own} × {own}: {failures[0]}{remedy}")
    return found


@contextmanager
def _placed(what: str) -> Iterator[None]:
    """Turn any error of a user's network into a UserError with its place; out of memory passes through."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{what}: {failure(error)}") from error


def failure(error: BaseException) -> str:
    """An error of a network in a line, with the place in its code: the last one outside of torch."""
    message = (str(error).strip().splitlines() or [""])[0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(TORCH)][-1]
    return f"{type(error).__name__}: {message} ({own.filename}:{own.lineno})"


@torch.no_grad()
def outputs(loaded: LoadedNetwork, images: Tensor) -> Tensor:
    """The network's outputs for images in [-1, 1], with its preprocessing.

    Raises:
        InvalidInput: they are no tensor with a row for each image.
        UserError: the network fails.
    """
    found = []
    with evaluating(loaded.network):
        for batch in images.split(BATCH):
            given = loaded.preprocess(batch)
            with _placed(f"the network fails on images of {' × '.join(map(str, given.shape[1:]))}"):
                output = loaded.network(given)
            found.append(rows_of(output, len(batch)).float())
    return torch.cat(found)


def counted_outputs(loaded: LoadedNetwork, images: Tensor) -> tuple[Tensor, int]:
    """The outputs, and how many floating-point operations they took."""
    with FlopCounterMode(display=False) as counter:
        found = outputs(loaded, images)
    return found, int(counter.get_total_flops())


def accuracy(logits: Tensor, labels: Tensor, n_classes: int) -> Accuracy:
    """How often the largest logit is that of the class.

    Where a network has other classes than the images, each of its classes is read as the class of the images that it
    occurs in most often, on one half of the images, and judged on the other.

    >>> accuracy(torch.eye(3), torch.tensor([0, 1, 1]), 3).value
    0.6666666865348816
    """
    predicted = logits.argmax(dim=1)
    chance = labels.bincount().max().item() / len(labels)
    if logits.shape[1] == n_classes:
        return Accuracy((predicted == labels).float().mean().item(), chance, False, len(labels))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    halves = order.chunk(2)
    right = sum(int(_mapped(predicted, labels, one, other)) for one, other in (halves, halves[::-1]))
    return Accuracy(right / len(labels), chance, True, len(labels))


def _mapped(predicted: Tensor, labels: Tensor, known: Tensor, judged: Tensor) -> int:
    """How many of the judged images get their class, if predictions are read as in the known ones."""
    table = {int(p): int(labels[known][predicted[known] == p].mode().values) for p in predicted[known].unique()}
    return sum(table.get(int(p), -1) == int(label) for p, label in zip(predicted[judged], labels[judged], strict=True))


def _kept(network: nn.Module, folder: Path) -> Path:
    """A file with the weights of a network that no file holds; those of an earlier start are loaded from it."""
    path = folder / "random_weights.pt"
    if path.exists():
        with suppress(UserError):  # weights of another network are replaced
            load_file(network, path)
            return path
    with atomic_write(path) as part:
        torch.save(network.state_dict(), part)
    return path
