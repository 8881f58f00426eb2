"""What the report tells about a study: checks in words, settings, times, seeds and versions."""

import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from invariances.config.sizes import total_memory
from invariances.evaluation.report.study_facts import Remark, StudyFacts
from invariances.studies.findings import THRESHOLDS, Finding, last_losses
from invariances.studies.planning import Plan
from invariances.studies.recipes import Recipe
from invariances.studies.request import Request, duration
from invariances.studies.steps import is_done, results, seconds_taken
from invariances.utils.files import n_cpus

FLAGS = {"n_seeds": "--seeds", "n_jobs": "--jobs"}
DEFAULTS = {"n_layers": 5, "n_seeds": 1}


def story(plan: Plan, facts: Mapping[str, Any], findings: Sequence[Finding], file: Path) -> StudyFacts:
    """The facts for the report.

    Args:
        plan: of the study.
        facts: of its `study.yaml`.
        findings: of all checks.
        file: `study.yaml`.
    """
    return StudyFacts(
        title=f"{plan.request.model} on {plan.request.data}",
        remarks=[Remark(finding.sign, finding.text, finding.about) for finding in findings],
        settings=dict(_settings(plan, facts, file)),
        trainings=[_training(plan, recipe) for recipe in plan.recipes],
        thresholds=THRESHOLDS,
        command=command(plan.request),
    )


def command(request: Request) -> str:
    """The command line of a request.

    >>> command(Request("my_models:Net", "photos", layers=("conv1", "fc"), n_seeds=2))
    'invariances study my_models:Net --data photos --layers conv1,fc --seeds 2'
    """
    words = ["invariances", "study", request.model]
    for name, value in vars(request).items():
        if name == "model" or value is None or DEFAULTS.get(name) == value:
            continue
        text = ",".join(value) if isinstance(value, tuple) else f"{value:.0f}s" if name == "budget" else str(value)
        words += [FLAGS.get(name, f"--{name}"), text]
    return shlex.join(words)


def _settings(plan: Plan, facts: Mapping[str, Any], file: Path) -> Iterator[tuple[str, str]]:
    network, images, quality = plan.network, plan.images, plan.quality
    yield "images", f"{images.n_train:,} for training, {images.n_validation:,} held out; {'; '.join(images.notes)}"
    yield "size", f"{network.size} × {network.size} px, {network.channels} channel(s)"
    weights = "random" if network.is_random else plan.request.weights or "its own"
    yield "network", f"{plan.request.model}, weights {weights}"
    if network.notes:
        yield "preprocessing", "; ".join(network.notes)
    if network.accuracy:
        low, high = network.accuracy.interval
        judged = f"of {network.accuracy.n_images} held-out images"
        yield "accuracy of the network", f"{network.accuracy.value:.3f} (95 % interval {low:.3f} … {high:.3f}) {judged}"
    yield "judged images", f"{plan.quality.n_judged} held-out images at most, by which each layer is measured"
    yield "autoencoder", plan.request.autoencoder or "trained here, without a perceptual loss or a discriminator"
    yield "quality", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in vars(quality).items())
    yield "seeds", ", ".join(map(str, range(plan.request.n_seeds)))
    yield "machine", f"{n_cpus()} processors, {total_memory() / 1e9:.0f} GB of memory, {platform.system()}"
    packages = ("invariances", "torch", "torchvision", "pytorch-lightning")
    python = f"Python {platform.python_version()}"
    yield "versions", ", ".join([python, *(f"{name} {version(name)}" for name in packages)])
    yield "configs", f"{file.parent}, one for each training; all choices: {file.name}"


def _training(plan: Plan, recipe: Recipe) -> dict[str, str]:
    """A row of the table of trainings."""
    folder = recipe.folder(plan.folder)
    done, taken = is_done(recipe, plan.folder), seconds_taken(recipe, plan.folder)
    loss = last_losses(folder / "train" / "csv" / "metrics.csv") if done else None
    held_out = results(recipe, plan.folder)["metrics"].get("validation/loss") if done else None
    return {
        "training": recipe.name,
        "steps": f"{recipe.n_steps:,}",
        "learning rate": f"{recipe.config['learning_rate']:g}",
        "weight decay": f"{recipe.config.get('weight_decay', 0):g}",
        "seed": str(recipe.config.get("seed", 0)),
        "planned": duration(plan.time(recipe)),
        "taken": "" if taken is None else duration(taken),
        "loss, last steps": "" if loss is None else f"{loss:.2f}",
        "loss, held out": "" if held_out is None else f"{held_out:.2f}",
        "run": str(folder),
    }
