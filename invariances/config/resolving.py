"""What a config leaves to be found when a run begins: the newest checkpoint of an experiment, measured factor sizes."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invariances.config.building import build_loader
from invariances.config.nodes import map_checkpoints
from invariances.config.parts import PARTS
from invariances.config.signatures import named
from invariances.errors import UserError

log = logging.getLogger(__name__)


def resolve(config: Mapping[str, Any], find: Callable[[str], Path], debug: bool = False) -> dict[str, Any]:
    """The config with everything in it that only the start of a run can know.

    Args:
        config: checked.
        find: the file of a checkpoint that is named by its path or as latest:EXPERIMENT.
        debug: whether this is a debug run, which measures on a few examples.

    Raises:
        UserError: names the key that cannot be resolved.
    """
    resolved = resolve_checkpoints(config, find)
    return resolve_factor_config(resolved, debug)


def resolve_checkpoints(config: Mapping[str, Any], find: Callable[[str], Path]) -> dict[str, Any]:
    """The config with every `checkpoint: latest:EXPERIMENT`, wherever it is, replaced by the file it stands for now.

    Raises:
        UserError: names the key whose checkpoint is missing or damaged.
    """

    def found(text: str, key: str) -> str:
        try:
            return str(find(text))
        except UserError as error:
            raise UserError(f"{key}: {error}") from error

    return {
        name: value if name == "notes" else map_checkpoints(value, name, found) for name, value in config.items()
    }


def resolve_factor_config(config: dict[str, Any], debug: bool = False) -> dict[str, Any]:
    """The config with a list in place of `Transformer/factor_config: auto` or the path of a `factors.json`.

    `auto` measures the codes of the first stage on the validation pairs, as the evaluation `factor_sizes` does.

    Raises:
        UserError: no such file, or no sizes in it; validation examples that are no pairs.
    """
    section = config.get("Transformer") or {}
    given = section.get("factor_config")
    if not isinstance(given, str):
        return config
    sizes = _saved_sizes(given) if given != "auto" else _measured_sizes(config, debug)
    log.info("sizes of the factors: %s", sizes)
    return config | {"Transformer": section | {"factor_config": sizes}}


def _saved_sizes(path: str) -> list[int]:
    try:
        return json.loads(Path(path).read_text())["sizes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = "a list of sizes such as [22, 11, 31], auto, or a factors.json of the evaluation factor_sizes"
        reason = error.strerror if isinstance(error, OSError) else "holds no sizes"
        raise UserError(f"Transformer/factor_config: {path}: {reason}; expected {expected}") from error


def _measured_sizes(config: dict[str, Any], debug: bool) -> list[int]:
    import torch

    from invariances.evaluation.metrics.factor_sizes import factor_sizes

    first_stage, loader = PARTS["first_stage"].build(config, "first_stage"), build_loader(config, "validation", debug)
    with named("Transformer/factor_config: auto"):
        sizes, _ = factor_sizes(
            first_stage.encode, loader, config["Transformer"]["n_factors"], torch.device("cpu")
        )
    return sizes
