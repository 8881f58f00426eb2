"""Resolve the values of a config that are known only when a run starts: checkpoints and factor sizes."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invariances.config.building import build_loader
from invariances.config.conditioning import fill_conditioning
from invariances.config.nodes import map_checkpoints
from invariances.config.parts import PARTS
from invariances.config.signatures import prefix_errors
from invariances.errors import InvalidInput, UserError
from invariances.utils.files import read_bytes

log = logging.getLogger(__name__)


def resolve(config: Mapping[str, Any], find: Callable[[str], Path], debug: bool = False) -> dict[str, Any]:
    """Replace latest:EXPERIMENT by checkpoint files, and `factor_config: auto` or a file by measured sizes.

    The settings of a conditional flow that the layer under study implies are filled in, see `conditioning`.

    Args:
        config: checked.
        find: (path or latest:EXPERIMENT) -> checkpoint file.
        debug: whether to measure on a few examples.

    Raises:
        UserError: a key that cannot be resolved.
    """
    resolved = resolve_checkpoints(config, find)
    return fill_conditioning(resolve_factor_config(resolved, debug))


def resolve_checkpoints(config: Mapping[str, Any], find: Callable[[str], Path]) -> dict[str, Any]:
    """Replace every `checkpoint: latest:EXPERIMENT` of a config by the file that it refers to now.

    Raises:
        UserError: a checkpoint is missing or damaged; the message has its key.
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
    """Replace `Transformer/factor_config: auto`, or the path of a `factors.json`, by a list of sizes.

    `auto` measures the codes of the first stage on the validation pairs, as the evaluation `factor_sizes` does.

    Raises:
        UserError: no such file, or no sizes in it; validation examples that are not pairs; more factors than the codes
            have channels.
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
        return json.loads(read_bytes(Path(path)))["sizes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = "a list of sizes such as [22, 11, 31], auto, or a factors.json of the evaluation factor_sizes"
        reason = str(error) if isinstance(error, InvalidInput) else f"{path} holds no sizes"
        raise UserError(f"Transformer/factor_config: {reason}; expected {expected}") from error


def _measured_sizes(config: dict[str, Any], debug: bool) -> list[int]:
    import torch

    from invariances.evaluation.metrics.factor_sizes import factor_sizes

    first_stage, loader = PARTS["first_stage"].build(config, "first_stage"), build_loader(config, "validation", debug)
    with prefix_errors("Transformer/factor_config: auto", InvalidInput):
        sizes, _ = factor_sizes(
            first_stage.encode, loader, config["Transformer"]["n_factors"], torch.device("cpu")
        )
    return sizes
