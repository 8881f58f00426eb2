"""The plan of a study: all choices, what they take, and the configs that follow from them."""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from invariances.config.parts import PARTS
from invariances.config.reading import dump, read_file
from invariances.config.signatures import mistakes, prefix_errors
from invariances.config.sizes import total_memory
from invariances.errors import InvalidInput, UserError
from invariances.models import Layer
from invariances.models.greybox import listed_layers
from invariances.studies import timing
from invariances.studies.findings import Finding, check_images, check_network
from invariances.studies.inputs.layer_choice import candidates, choose, named
from invariances.studies.inputs.network_given import GivenNetwork, given_network
from invariances.studies.inputs.pictures_given import GivenImages, at_size, given_images
from invariances.studies.quality import DRAFT, LEVELS, LONGEST, SHORTEST, SIDES, Quality, usable_side
from invariances.studies.recipes import AUTOENCODER, Recipe, autoencoder_recipe, flow_recipe
from invariances.studies.request import Request, duration
from invariances.studies.steps import is_done
from invariances.training.run import resolve_checkpoint
from invariances.utils.files import atomic_write, cache_root, n_cpus
from invariances.utils.process_settings import n_threads
from invariances.utils.weights import first as first_few

FILE = "study.yaml"
LARGEST = {"draft": 110_000, "good": 500_000, "best": 1_000_000}  # numbers of a representation that a layer may have
HALVED_FROM = 2e9  # bytes of representations from which on half precision is used
PLANNING = 15.0  # seconds
REPORT = 10.0  # seconds
HALVINGS = 12  # of the range of lengths, to the one that fits a budget
SPARE = 1.0e9  # bytes of disk that stay free


@dataclass(frozen=True)
class Plan:
    """All choices of a study.

    Attributes:
        request: of the user.
        images, network, layers, quality: what it is about.
        autoencoder: the section `AutoencoderModel`; None if one is trained.
        z_dim: channels of the codes.
        rate: learning rate of the autoencoder.
        precision: of kept representations.
        costs: name of a recipe -> what it takes.
        findings: about images and network.
        left_out: names of other places at which the network could be studied, the outermost first.
    """

    request: Request
    images: GivenImages
    network: GivenNetwork
    layers: tuple[Layer, ...]
    quality: Quality
    autoencoder: Mapping[str, Any] | None
    z_dim: int
    rate: float | None = None
    precision: str = "float32"
    costs: Mapping[str, timing.Cost] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the study."""
        return self.folder.name

    @property
    def folder(self) -> Path:
        """Of the study."""
        return self.request.folder

    @property
    def first(self) -> Recipe | None:
        """The autoencoder's training, if there is one."""
        if self.autoencoder is not None:
            return None
        return autoencoder_recipe(self.name, self.images, self.network, self.quality, self.rate)

    @property
    def flows(self) -> list[Recipe]:
        """The flows' trainings, by layer and seed."""
        first = self.first
        section = {"checkpoint": str(first.checkpoint(self.folder))} if first else dict(self.autoencoder or {})
        facts = (self.name, self.images, self.network)
        return [
            flow_recipe(*facts, layer, section, self.z_dim, self.quality, seed, self.precision)
            for seed in range(self.request.n_seeds)
            for layer in self.layers
        ]

    @property
    def recipes(self) -> list[Recipe]:
        """All trainings, in order."""
        return [*([self.first] if self.first else []), *self.flows]

    @property
    def n_parallel(self) -> int:
        """Flows that are trained at a time, as far as processors and memory allow."""
        largest = max(self.cost(recipe).memory for recipe in self.flows)
        return max(1, min(self.n_wanted, int(0.8 * total_memory() / largest)))

    @property
    def n_wanted(self) -> int:
        """Flows that are trained at a time if memory allows."""
        wanted = self.request.n_jobs or (1 if timing.device().type == "cuda" else n_cpus())
        return min(wanted, len(self.layers) * self.request.n_seeds)

    def cost(self, recipe: Recipe) -> timing.Cost:
        """What a training takes; seeds take the same."""
        return self.costs[recipe.name.partition("-seed")[0]]

    def time(self, recipe: Recipe) -> float:
        """Seconds of a training."""
        return self.cost(recipe).time(recipe.n_steps)

    @property
    def total_time(self) -> float:
        """Seconds of the study."""
        flows = [self.time(recipe) for recipe in self.flows]
        return PLANNING + REPORT + (self.time(self.first) if self.first else 0) + side_by_side(flows, self.n_parallel)

    @property
    def disk(self) -> float:
        """Bytes that the study writes."""
        return sum(self.cost(recipe).disk for recipe in self.recipes)

    @property
    def memory(self) -> float:
        """Bytes of all trainings at a time."""
        largest = sorted((self.cost(recipe).memory for recipe in self.flows), reverse=True)
        return max(sum(largest[: self.n_parallel]), self.cost(self.first).memory if self.first else 0)

    def with_rate(self, rate: float) -> "Plan":
        """The same with another learning rate of the autoencoder."""
        return replace(self, rate=rate)


def side_by_side(times: Sequence[float], n: int) -> float:
    """When the last of several jobs ends, if n run at a time and each begins as early as it can.

    >>> side_by_side([3.0, 2.0, 2.0], 2)
    4.0
    """
    free = [0.0] * n
    for time in times:
        free[free.index(min(free))] += time
    return max(free)


def plan_study(request: Request, keep: bool = True) -> Plan:
    """Make all choices.

    Args:
        request: of the user.
        keep: whether random weights of the network are kept in the folder.

    Raises:
        UserError: what cannot be studied, with the reason.
    """
    stored = _stored(request)
    images = given_images(request.data)
    if request.size is not None:
        images = at_size(images, request.size)
    section, trained = _given_autoencoder(request)
    level = LEVELS[request.quality or DRAFT.name]
    network = given_network(
        request.model,
        request.weights,
        request.preprocess,
        images,
        request.folder if keep else None,
        lambda side: _size(request, images, trained, side, level),
    )
    _require_channels(network, trained)
    level = replace(level, n_judged=min(level.n_judged, images.n_validation))
    layers, left_out = _layers(request, network, level)
    plan = Plan(request, images, network, layers, level, section, 0, left_out=left_out)
    plan = replace(plan, z_dim=trained.z_dim if trained else plan.first.config["Model"]["z_dim"])  # type: ignore
    plan = replace(plan, findings=(*check_images(images), *check_network(network, request.model)))
    if stored.get("quality"):
        return _as_stored(plan, stored)
    return _within_budget(_measured(plan, trained), trained)


def _as_stored(plan: Plan, stored: Mapping[str, Any]) -> Plan:
    """The plan with what an earlier start of it has measured.

    Raises:
        UserError: the file does not hold that.
    """
    quality, costs, precision = stored["quality"], stored.get("costs"), str(stored.get("precision"))
    found = [*mistakes(Quality, quality, "quality")]
    if not isinstance(costs, Mapping) or not costs.keys() >= {recipe.name for recipe in plan.recipes}:
        costs = {}
        found.append("costs: not those of all trainings")
    found += [line for name, cost in costs.items() for line in mistakes(timing.Cost, cost, f"costs/{name}")]
    if precision not in timing.BYTES:
        found.append(f"precision: {precision}")
    if found:
        raise UserError(f"{plan.folder / FILE}: is damaged ({found[0]}); remove it to plan anew")
    measured = {name: timing.Cost(**cost) for name, cost in costs.items()}
    return replace(plan, quality=Quality(**quality), precision=precision, costs=measured)


def _stored(request: Request) -> dict[str, Any]:
    """What an earlier start of the same study has measured; nothing if another one was asked for."""
    path = request.folder / FILE
    if not path.exists():
        return {}
    found = read_file(path)
    return found if found.get("request") == request.stored() else {}


def _given_autoencoder(request: Request) -> tuple[dict[str, Any] | None, Any]:
    """The section `AutoencoderModel`, and the network."""
    if request.autoencoder is None:
        return None, None
    section = {"checkpoint": str(resolve_checkpoint(request.autoencoder))}
    return section, PARTS["autoencoder"].build({"AutoencoderModel": section}, "AutoencoderModel")


def _size(request: Request, images: GivenImages, trained: Any, side: int, level: Quality) -> int:
    """Side of the study's images."""
    if trained is not None and (size := getattr(trained, "in_size", None)):
        if request.size not in (None, size):
            raise UserError(f"--size {request.size}: the autoencoder takes {size} px; leave out --size")
        return int(size)
    if request.size is not None:
        if request.size not in SIDES:
            raise UserError(f"--size {request.size}: expected one of {', '.join(map(str, SIDES))}")
        return request.size
    own = images.shape[1]
    if not images.sizes and (images.shape[2] != own or own not in SIDES):
        raise UserError(f"--data {request.data}: images of {own} × {images.shape[2]} px; expected squares of {SIDES}")
    return own if not images.sizes else usable_side(own, side, level.largest_side)


def _require_channels(network: GivenNetwork, trained: Any) -> None:
    channels = getattr(trained, "in_channels", network.channels)
    if channels != network.channels:
        raise UserError(
            f"--autoencoder: takes images of {channels} channels, and the network of {network.channels}; "
            "leave out --autoencoder to train one"
        )


def _layers(request: Request, network: GivenNetwork, level: Quality) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """The layers of the study; and the names of those that the choice has left out, the outermost first."""
    with prefix_errors(request.model, InvalidInput):
        found = listed_layers(network.loaded)
    if request.layers:
        return tuple(named(found, request.layers)), ()
    chosen = tuple(choose(found, request.n_layers, LARGEST[level.name]))
    others = [layer.name for layer in candidates(found) if layer not in chosen]
    return chosen, tuple(sorted(others, key=lambda name: name.count(".")))


def _measured(plan: Plan, trained: Any) -> Plan:
    """The plan with the costs of its trainings, from a few steps of each."""
    quality, network = plan.quality, plan.network
    batch, _ = plan.images.examples("train", network.size, network.channels, quality.batch_size)
    batch = batch.repeat(math.ceil(quality.batch_size / len(batch)), 1, 1, 1)[: quality.batch_size]
    costs: dict[str, timing.Cost] = {}
    first = plan.first
    with timing.threads(n_threads()):
        if first is not None:
            costs[AUTOENCODER] = timing.autoencoder_cost(first.config, batch, quality.n_judged)
    n_images = min(plan.images.n_train, quality.n_images)
    n_values = sum(math.prod(layer.shape) for layer in plan.layers)
    plan = replace(plan, precision="float16" if 4 * n_values * n_images > HALVED_FROM else "float32")
    with timing.threads(n_threads(plan.n_wanted)), timing.company(plan.n_wanted - 1):
        autoencoder = trained or _untrained(first)
        rates = timing.frozen_rates(network, autoencoder, batch)
        for layer, recipe in zip(plan.layers, plan.flows, strict=False):  # of the first seed
            costs[recipe.name] = timing.flow_cost(
                recipe.config, layer, rates, n_images, quality.n_judged, quality.batch_size
            )
    return replace(plan, costs=costs)


def _untrained(recipe: Recipe | None) -> Any:
    """The autoencoder without ActNorm, whose statistics are not there yet."""
    from invariances.models import Autoencoder

    assert recipe is not None
    return Autoencoder(**{**recipe.config["Model"], "norm": "none"}).eval()


def _within_budget(plan: Plan, trained: Any) -> Plan:
    """The plan with trainings as long as the budget allows.

    Raises:
        UserError: it does not allow the shortest.
    """
    budget = plan.request.budget
    if budget is None:
        return plan
    best = plan
    for level in list(LEVELS.values())[1:]:
        if plan.total_time < budget / LONGEST and level.largest_side == plan.quality.largest_side:
            judged = min(level.n_judged, plan.images.n_validation)
            larger = _measured(replace(plan, quality=replace(level, n_judged=judged)), trained)
            best = larger if larger.total_time <= budget else best
    shortest, longest = _scaled(best, SHORTEST), _scaled(best, LONGEST)
    if shortest.total_time > budget:
        time = shortest.total_time
        raise UserError(
            f"--budget {duration(budget)}: the shortest study that tells anything takes about {duration(time)}; "
            f"use --budget {math.ceil(time / 60)}m, fewer --layers or a smaller --size"
        )
    return longest if longest.total_time <= budget else _longest(best, budget)


def _longest(plan: Plan, budget: float) -> Plan:
    """The plan with the longest trainings that fit a budget, which the shortest ones do, by bisection."""
    fits, exceeds = SHORTEST, LONGEST
    for _ in range(HALVINGS):
        factor = (fits + exceeds) / 2
        fits, exceeds = (factor, exceeds) if _scaled(plan, factor).total_time <= budget else (fits, factor)
    return _scaled(plan, fits)


def _scaled(plan: Plan, factor: float) -> Plan:
    """The plan with trainings longer or shorter by a factor."""
    return replace(plan, quality=plan.quality.scaled(factor))


def require_space(plan: Plan) -> None:
    """Refuse a study that the disk cannot hold.

    Raises:
        UserError: names the folder, what is needed and what is free.
    """
    free = min(shutil.disk_usage(_existing(folder)).free for folder in (plan.folder, cache_root()))
    if free < plan.disk + SPARE:
        raise UserError(
            f"{plan.folder}: needs about {(plan.disk + SPARE) / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there or "
            f"in the cache {cache_root()}; make space, or use fewer --layers, a smaller --size or --quality draft"
        )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def write_plan(plan: Plan) -> None:
    """Write the configs and `study.yaml`."""
    for recipe in plan.recipes:
        _write(recipe.file(plan.folder), recipe.text())
    _write(plan.folder / FILE, dump(facts(plan)))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as part:
            part.write_text(text, encoding="utf-8")


def facts(plan: Plan) -> dict[str, Any]:
    """The plan as plain values."""
    network, images, accuracy = plan.network, plan.images, plan.network.accuracy
    return {
        "request": plan.request.stored(),
        "images": {
            "train": images.n_train,
            "validation": images.n_validation,
            "classes": images.classes,
            "side": network.size,
            "channels": network.channels,
            "decided": list(images.notes),
        },
        "network": {
            "random": network.is_random,
            "accuracy": None if accuracy is None else round(accuracy.value, 3),
            "decided": list(network.notes),
            "identity": network.identity,
        },
        "layers": [{"name": layer.name, "shape": list(layer.shape)} for layer in plan.layers],
        "precision": plan.precision,
        "quality": asdict(plan.quality),
        "costs": {name: asdict(cost) for name, cost in plan.costs.items()},
        "runs": {recipe.name: str(recipe.folder(plan.folder)) for recipe in plan.recipes},
    }


def described(plan: Plan) -> Iterator[str]:
    """The plan for people, a line each."""
    images, network, quality = plan.images, plan.network, plan.quality
    labels = f", {images.classes} classes" if images.classes else ", no labels"
    yield f"study     {plan.folder}"
    notes = "; ".join(images.notes)
    yield f"images    {images.n_train:,} for training, {images.n_validation:,} held out{labels}; {notes}"
    color = {1: "grey", 3: "colour"}.get(network.channels, f"{network.channels} channels")
    made = f", made so of {images.shape[0]} channel(s)" if images.shape[0] != network.channels else ""
    yield f"          studied at {network.size} × {network.size} px, {color}{made}"
    yield f"network   {plan.request.model}{_accuracy_text(network)}"
    yield from (f"          {note}" for note in network.notes)
    if plan.first is not None:
        yield (
            f"quality   {quality.name}: autoencoder {plan.first.n_steps:,} steps, flows {plan.flows[0].n_steps:,}, "
            f"on {min(images.n_train, quality.n_images):,} images; no perceptual loss"
        )
    else:
        given = plan.request.autoencoder
        yield f"quality   {quality.name}: flows {plan.flows[0].n_steps:,} steps, on the autoencoder {given}"
    yield ""
    yield from _table(plan)
    yield ""
    if plan.left_out:
        n, others = len(plan.layers), plan.left_out
        yield (
            f"layers    {n} of {n + len(others)} places; left out: {first_few(others)}; "
            f"--n_layers {n + len(others)} takes more, --layers A,B others"
        )
    yield _in_all(plan)
    yield from (f"{finding.sign:9} {finding.text}" for finding in plan.findings)


def _in_all(plan: Plan) -> str:
    """What the study takes; what is left of it, if an earlier start has done some."""
    n_done, n = sum(is_done(recipe, plan.folder) for recipe in plan.recipes), len(plan.recipes)
    if n_done == n:
        return f"in all    all {n} trainings are done; only the report is written again"
    done = f"; of {n} trainings {n_done} are done already" if n_done else ""
    seeds = f", {plan.request.n_seeds} trainings each" if plan.request.n_seeds > 1 else ""
    return (
        f"in all    about {duration(plan.total_time)} if the machine stays as busy as it was when this was measured"
        f"{seeds}, {plan.n_parallel} at a time; memory {plan.memory / 1e9:.1f} GB of {total_memory() / 1e9:.0f}, disk "
        f"{plan.disk / 1e9:.1f} GB{done}"
    )


def _accuracy_text(network: GivenNetwork) -> str:
    found = network.accuracy
    if found is None:
        return ""
    how = " (its classes read as those of the images)" if found.mapped else ""
    return f": right on {found.value:.1%} of {found.n_images} held-out images{how}"


def _table(plan: Plan) -> Iterator[str]:
    rows = [("training", "shape", "numbers", "conditioning", "time", "disk")]
    if plan.first is not None:
        rows.append((AUTOENCODER, "", f"{plan.z_dim} (code)", "", *_numbers(plan, plan.first)))
    for layer, recipe in zip(plan.layers, plan.flows, strict=False):  # of the first seed
        down = recipe.config["Transformer"].get("embedder_down")
        shape = " × ".join(map(str, layer.shape))
        how = "dense" if down is None else f"{down} halving{'s' * (down != 1)}"
        rows.append((layer.name, shape, f"{math.prod(layer.shape):,}", how, *_numbers(plan, recipe)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield from ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _numbers(plan: Plan, recipe: Recipe) -> tuple[str, str]:
    return duration(plan.time(recipe)), f"{plan.cost(recipe).disk / 1e9:.2f} GB"
