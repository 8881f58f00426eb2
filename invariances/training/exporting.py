"""The model of a run as a folder that anyone can load: weights, config and a card; see `utils.model_folder`."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from invariances.config.nodes import map_checkpoints
from invariances.config.parts import arguments_section, load_network
from invariances.errors import UserError
from invariances.evaluation.metrics.estimate import INTERVAL
from invariances.evaluation.report.stored import StoredEvaluation, read
from invariances.training.identity import NETWORKS
from invariances.training.run import Run
from invariances.utils import checkpoints, model_folder
from invariances.utils.files import atomic_write


def export(run: Run, folder: Path | None = None) -> Path:
    """Write the model of a run's last checkpoint to a folder.

    Args:
        run: with a checkpoint.
        folder: by default `export` in the run's folder. An earlier export there is replaced.

    Returns:
        the folder.

    Raises:
        UserError: the run has no checkpoint; the folder holds something else, or cannot be written; the model needs
            another checkpoint beside its own.
    """
    folder = folder or run.path / "export"
    checkpoint = run.last_checkpoint()
    state = checkpoints.load(checkpoint)
    config = _config(state, checkpoint)
    if folder.exists() and not model_folder.is_one(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already and is no exported model; name another folder with --to")
    network = load_network(checkpoint)
    card = _card(network, state, newest_evaluation(run))
    try:
        (folder / model_folder.CONFIG).unlink(missing_ok=True)  # until all files are new, it is no model
        model_folder.write_weights(folder / model_folder.WEIGHTS, network.state_dict())
        with atomic_write(folder / model_folder.CARD) as part:
            part.write_text(card, encoding="utf-8")
        model_folder.write_facts(folder, model_folder.Facts(config, networks=state.get(NETWORKS, {})))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return folder


def newest_evaluation(run: Run) -> StoredEvaluation | None:
    """The newest readable `metrics.json` of a run."""
    found = []
    for path in run.path.glob("**/metrics.json"):
        with suppress(OSError, ValueError):
            found.append(read(path.parent))
    return max(found, key=lambda stored: stored.time, default=None)


def _config(state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The class of the model and its arguments; the rest of a run's config may name private files."""
    config = state["config"]
    section = arguments_section(config, "model")

    def refuse(text: str, key: str) -> str:
        raise UserError(f"{path}: {key} names {text}, which an exported model cannot have beside it")

    return {"model": config["model"], section: map_checkpoints(config.get(section) or {}, section, refuse)}


def _card(network: nn.Module, state: Mapping[str, Any], evaluation: StoredEvaluation | None) -> str:
    """The model card: what the run knows, and nothing else."""
    config = state["config"]
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    title = config.get("experiment_name", type(network).__name__)
    lines = ["---", "library_name: invariances", "---", f"# {title}", ""]
    lines += [f"`{config['model']}`, {n_parameters:,} parameters; its arguments are in `{model_folder.CONFIG}`.", ""]
    lines += [f"- trained by: `{config.get('iterator')}`, {checkpoints.weights_of(state)['step']:,} steps"]
    lines += [f"- {split} data: `{name}`" for split, name in _datasets(config)]
    lines += [f"- {name}: {_identity(facts)}" for name, facts in state.get(NETWORKS, {}).items()]
    versions = {"invariances": version("invariances"), "torch": torch.__version__, "Python": platform.python_version()}
    lines += [f"- versions: {', '.join(' '.join(pair) for pair in versions.items())}"]
    lines += ["", "```python", "from invariances.zoo import zoo", ""]
    lines += ['model = zoo.load("PATH")  # of this folder, or hub:USER/NAME', "```", ""]
    return "\n".join([*lines, *(_scores(evaluation) if evaluation else [])])


def _datasets(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The class of each data set; its arguments may name private folders."""
    for split, spec in config.get("datasets", {}).items():
        yield split, spec["class"] if isinstance(spec, Mapping) else spec


def _identity(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{key} `{value}`" for key, value in facts.items())


def _scores(evaluation: StoredEvaluation) -> Iterator[str]:
    """The numbers of an evaluation as a table, each with its confidence interval and how to read it."""
    yield f"## Scores of {evaluation.time[:10]}, {evaluation.folder.name}"
    yield "\n| measure | value | 95 % interval | what it is |\n|---|---|---|---|"
    numbers = {name: value for name, value in evaluation.metrics.items() if value is not None}
    for name, value in numbers.items():
        if not name.endswith(INTERVAL):
            half, low, high = (numbers.get(f"{name}{end}") for end in INTERVAL)
            interval = "" if half is None else f"± {half:.3g}"
            if low is not None and high is not None:
                interval = f"{low:.3g} … {high:.3g}"
            yield f"| `{name}` | {value:.4g} | {interval} | {evaluation.legend.get(name, '')} |"
    yield ""
