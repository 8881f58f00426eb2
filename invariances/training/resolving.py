"""What a config leaves to be found when a run begins: the newest checkpoint of an experiment, measured factor sizes."""

import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from invariances.config.building import build_loader
from invariances.config.nodes import map_checkpoints
from invariances.config.parts import PARTS
from invariances.errors import UserError, named
from invariances.training.run import ROOT, resolve_checkpoint

log = logging.getLogger(__name__)


def resolve(config: Mapping[str, Any], debug: bool = False) -> dict[str, Any]:
    """The config with everything in it that only the start of a run can know.

    Raises:
        UserError: names the key that cannot be resolved.
    """
    return resolve_factor_config(resolve_checkpoints(config, debug=debug), debug)


def resolve_checkpoints(config: Mapping[str, Any], root: str | Path = ROOT, debug: bool = False) -> dict[str, Any]:
    """The config with every `checkpoint: latest:EXPERIMENT`, wherever it is, replaced by the file it stands for now.

    Raises:
        UserError: names the key whose checkpoint is missing or damaged.
    """
    find = partial(_checkpoint_of_key, root=root, debug=debug)
    return {
        name: value if name == "notes" else map_checkpoints(value, name, find) for name, value in config.items()
    }


def _checkpoint_of_key(text: str, key: str, root: str | Path, debug: bool) -> str:
    try:
        return str(resolve_checkpoint(text, root, debug))
    except UserError as error:
        raise UserError(f"{key}: {error}") from error


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
    sizes = _measured_sizes(config, debug) if given == "auto" else _saved_sizes(given)
    log.info("sizes of the factors: %s", sizes)
    return config | {"Transformer": section | {"factor_config": sizes}}


def _measured_sizes(config: dict[str, Any], debug: bool) -> list[int]:
    import torch

    from invariances.evaluation.metrics.factor_sizes import factor_sizes

    first_stage, loader = PARTS["first_stage"].build(config, "first_stage"), build_loader(config, "validation", debug)
    with named("Transformer/factor_config: auto"):
        sizes, _ = factor_sizes(
            first_stage.encode, loader, config["Transformer"]["n_factors"], torch.device("cpu")
        )
    return sizes


def _saved_sizes(path: str) -> list[int]:
    try:
        return json.loads(Path(path).read_text())["sizes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = "a list of sizes such as [22, 11, 31], auto, or a factors.json of the evaluation factor_sizes"
        reason = error.strerror if isinstance(error, OSError) else "holds no sizes"
        raise UserError(f"Transformer/factor_config: {path}: {reason}; expected {expected}") from error
