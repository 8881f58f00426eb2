"""The base class of evaluations, what they may need of a training task, and the function that runs several of them.

The protocols below name what training tasks offer. An evaluation states in `needs` which of them it uses; the check of
a config compares that with the classes in it before any work is done.
"""

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from types import UnionType
from typing import ClassVar, Generic, Protocol, SupportsFloat, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from invariances.data.base import Batch
from invariances.data.unpairing import unpaired
from invariances.models.frozen import Frozen
from invariances.utils.files import atomic_write

log = logging.getLogger(__name__)

Batches: TypeAlias = Iterable[Batch]  # of the validation split; each pass has the same examples
Needs: TypeAlias = type | UnionType  # a protocol, or a union of protocols of which any one will do
View: TypeAlias = tuple[str, Tensor]  # a label, and images (B, C, H, W) in [-1, 1]


@runtime_checkable
class OnDevice(Protocol):
    """A task whose networks are on one device."""

    @property
    def device(self) -> torch.device:
        """The device."""


@runtime_checkable
class Task(OnDevice, Protocol):
    """A training task that can be evaluated."""

    step: Tensor

    def facts(self) -> Mapping[str, object]:
        """Entries of `metrics.json` that describe the model."""


@runtime_checkable
class CanSample(OnDevice, Protocol):
    """A task with an unconditional generative model."""

    def sample_images(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n images, (n, C, H, W) in [-1, 1]."""


@runtime_checkable
class CanSampleLike(OnDevice, Protocol):
    """A task with a generative model that is conditioned on images."""

    def sample_like(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one image for each given one: (B, C, H, W) -> (B, C, H, W), in [-1, 1]."""


@runtime_checkable
class CanReconstruct(OnDevice, Protocol):
    """A task with an autoencoder."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """Encode and decode images without noise, (B, C, H, W) -> (B, C, H, W), in [-1, 1]."""


@runtime_checkable
class HasViews(OnDevice, Protocol):
    """A task that can show what its model makes of images."""

    def views(self, images: Tensor, n_samples: int, generator: torch.Generator) -> list[View]:
        """Labelled images: the input, its reconstruction, samples …"""


@runtime_checkable
class HasCodes(OnDevice, Protocol):
    """A task on the codes of a first stage."""

    def code(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> codes (B, N, 1, 1)."""

    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, N, 1, 1) -> images (B, C, H, W)."""


@runtime_checkable
class HasFactors(HasCodes, Protocol):
    """A task with an invertible map of codes to factors."""

    factor_names: tuple[str, ...]

    def to_factors(self, code: Tensor) -> list[Tensor]:
        """Codes (B, N, 1, 1) -> factors, each (B, N_k, 1, 1)."""

    def to_code(self, factors: list[Tensor]) -> Tensor:
        """The inverse of `to_factors`."""


@runtime_checkable
class HasFirstStage(HasFactors, Protocol):
    """A task with factors, and with the network that its codes come from."""

    first_stage: Frozen


@runtime_checkable
class HasConditionalFlow(OnDevice, Protocol):
    """A task with a conditional INN, the network under study, an autoencoder, and perhaps a baseline.

    `baseline` maps representations to codes; it may be None.
    """

    greybox: Frozen
    autoencoder: Frozen
    baseline: nn.Module | None

    @property
    def model(self) -> nn.Module:
        """The conditional INN."""


@runtime_checkable
class Distribution(Protocol):
    """A distribution over codes."""

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one code for each image, (B, N, 1, 1)."""


@runtime_checkable
class CanEncode(Protocol):
    """A model with codes."""

    def encode(self, images: Tensor) -> Tensor | Distribution:
        """Images (B, C, H, W) -> codes (B, N, 1, 1), or a distribution over them."""


@runtime_checkable
class HasEncoder(OnDevice, Protocol):
    """A task whose model has codes."""

    @property
    def model(self) -> CanEncode:
        """The model."""


Offer = TypeVar("Offer", contravariant=True)


class Evaluation(ABC, Generic[Offer]):
    """Measures or draws something of a model, after each epoch and in `edflow -p`.

    A class of one's own is used by `evaluation: {name: {class: my_module.MyClass}}` in a config. It may derive from
    this one or only have its `__call__`; its constructor's arguments are the other keys next to `class`. The type
    argument is what the task must offer.

    Attributes:
        needs: what the task must offer: a protocol, or a union of protocols of which any one will do.
        needs_model: the same of the task's model.
        legend: name of a number -> one sentence on how to read it, shown in the report. A name may hold wildcards
            as in file names: `fid_*`. The first match counts.

    Example:
        >>> class Brightness(Evaluation[OnDevice]):
        ...     legend = {"brightness": "Mean of all pixels. -1: black; 1: white."}
        ...     def __call__(self, iterator, loader, folder):
        ...         return {"brightness": first_examples(loader, None, iterator.device)["image"].mean().item()}
        >>> from types import SimpleNamespace
        >>> task = SimpleNamespace(device=torch.device("cpu"))
        >>> Brightness()(task, [{"image": torch.zeros(2, 3, 4, 4)}], Path())
        {'brightness': 0.0}
    """

    needs: ClassVar[Needs | None] = None
    needs_model: ClassVar[Needs | None] = None
    legend: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def __call__(self, iterator: Offer, loader: Batches, folder: Path) -> dict[str, float]:
        """Measure.

        Args:
            iterator: the training task, its networks in eval mode.
            loader: batches of the validation split, dicts of tensors.
            folder: where pictures and files go.

        Returns:
            name -> number.
        """

    @classmethod
    def __subclasshook__(cls, other: type) -> object:  # type: ignore[override]  # typeshed leaves NotImplemented out
        """Any class whose instances can be called is an evaluation, so that it need not know this one."""
        if cls is Evaluation and any("__call__" in vars(base) for base in other.__mro__):
            return True
        return NotImplemented


@dataclass(frozen=True)
class Results:
    """Results of several evaluations.

    Attributes:
        metrics: name -> number, of all evaluations together.
        missing: name of an evaluation that failed -> its error.
    """

    metrics: dict[str, float]
    missing: dict[str, str]


def evaluate(
    evaluations: Mapping[str, Evaluation],
    iterator: Task,
    loader: Batches,
    folder: Path,
    losses: Mapping[str, float] | None = None,
) -> Results:
    """Run evaluations and write `folder/metrics.json`.

    An evaluation that fails stops nothing else: its error is logged, and stands in `metrics.json` under `missing`, as
    do losses that are not finite.

    Args:
        evaluations: name -> evaluation.
        iterator, loader, folder: see `Evaluation`.
        losses: numbers of the validation pass, which `metrics.json` holds too.

    Returns:
        numbers, without the losses, and errors.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from types import SimpleNamespace
        >>> task = SimpleNamespace(device=torch.device("cpu"), step=torch.tensor(7), facts=lambda: {"layer": "conv1"})
        >>> with TemporaryDirectory() as folder:
        ...     results = evaluate({"one": lambda iterator, loader, folder: {"one": 1.0}}, task, [], Path(folder))
        ...     written = json.loads(Path(folder, "metrics.json").read_text())
        >>> results.metrics, written["step"], written["layer"]
        ({'one': 1.0}, 7, 'conv1')
    """
    results = Results({}, _not_finite(losses or {}))
    legend: dict[str, str] = {}
    for name in (progress := tqdm(evaluations, unit="evaluation", leave=False, disable=None)):
        progress.set_description(name)
        try:
            with evaluation_mode(iterator):
                found = numbers(evaluations[name](iterator, loader, folder))
            explained = texts(getattr(evaluations[name], "legend", {}), found)
        except Exception as error:  # whatever fails in a metric, the training goes on
            results.missing[name] = f"{type(error).__name__}: {error}"
            log.warning("evaluation %s is missing at step %d: %s", name, int(iterator.step), results.missing[name])
            log.debug("evaluation %s", name, exc_info=error)
        else:
            results.metrics.update(found)
            legend |= explained
    report = {
        "time": datetime.now(timezone.utc).isoformat(),
        "step": int(iterator.step),
        **iterator.facts(),
        "metrics": {**(losses or {}), **results.metrics},
        "legend": legend,
        "missing": results.missing,
    }
    with atomic_write(folder / "metrics.json") as part:
        part.write_text(json.dumps(jsonable(report), indent=1, allow_nan=False))
    return results


@contextmanager
def evaluation_mode(task: object) -> Iterator[None]:
    """Switch a task to eval mode, and each of its modules back to its own mode afterwards.

    >>> task = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with evaluation_mode(task):
    ...     [module.training for module in task]
    [False, False]
    >>> [module.training for module in task]
    [True, False]
    """
    modes = {module: module.training for module in task.modules()} if isinstance(task, nn.Module) else {}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _not_finite(losses: Mapping[str, float]) -> dict[str, str]:
    """An entry of `missing` for the losses of the validation pass, if one of them is not finite."""
    broken = [f"{name} = {value:g}" for name, value in losses.items() if not math.isfinite(value)]
    return {"validation": f"not finite: {', '.join(broken)}"} if broken else {}


def numbers(found: Mapping[str, SupportsFloat]) -> dict[str, float]:
    """What an evaluation has returned, as plain numbers.

    Raises:
        TypeError, ValueError: it is no mapping from names to numbers.

    >>> numbers({"a": torch.tensor(1.5), "b": 2})
    {'a': 1.5, 'b': 2.0}
    """
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"expected a mapping from names to numbers, got {found!r}")
    if wrong := [name for name, value in found.items() if isinstance(value, str) or value is None]:
        raise TypeError(f"{wrong[0]} is {found[wrong[0]]!r}; expected a number")
    return {name: float(value) for name, value in found.items()}


def texts(legend: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The text of each name that a legend explains.

    >>> texts({"fid_random": "of random features", "fid_*": "of any features"}, ["fid_x", "fid_random", "kid_x"])
    {'fid_x': 'of any features', 'fid_random': 'of random features'}
    """
    found = {
        name: next((text for pattern, text in legend.items() if fnmatchcase(name, pattern)), None) for name in names
    }
    return {name: text for name, text in found.items() if text is not None}


def jsonable(value: object) -> object:
    """The value with NaN and infinities, which JSON lacks, as null.

    >>> jsonable({"a": float("nan"), "b": {"c": 1.5}})
    {'a': None, 'b': {'c': 1.5}}
    """
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def first_examples(loader: Batches, n: int | None, device: torch.device) -> Batch:
    """The first `n` examples of a loader (all for None) as one batch on a device; pairs count as two.

    >>> batches = [{"image": torch.zeros(4, 3, 8, 8)} for _ in range(3)]
    >>> first_examples(batches, 6, torch.device("cpu"))["image"].shape
    torch.Size([6, 3, 8, 8])
    """
    batches: list[Batch] = []
    for batch in map(unpaired, loader):
        batches.append(batch)
        if n is not None and sum(len(b["image"]) for b in batches) >= n:
            break
    return {key: torch.cat([b[key] for b in batches])[:n].to(device) for key in batches[0]}
