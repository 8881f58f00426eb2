"""Sizes of factors that a config leaves to a measurement."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from invariances.config.networks import BUILDERS
from invariances.errors import UserError, named
from invariances.evaluation.metrics.factor_sizes import factor_sizes
from invariances.training.engine import build_loader

log = logging.getLogger(__name__)


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
    first_stage, loader = BUILDERS["first_stage"](config), build_loader(config, "validation", debug)
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
