"""A folder that holds one model: `config.json`, which names its class and arguments, and a file of weights.

    config.json         {"model": "package.Class", "Model": {argument: value}, "weights": "model.safetensors"}
    model.safetensors   the weights, by their names in the model
    README.md           what the model is, for people

Such folders are exported from runs, come from the Hugging Face hub, and keep the released models. The class is found
and called by `invariances.config`, by the rules of all configs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from invariances.errors import UserError
from invariances.utils.files import atomic_write, read_bytes
from invariances.utils.weights import first

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
SUFFIX = ".safetensors"
SECTIONS = ("Model", "Transformer")  # with the arguments of the class
MOST_BYTES = 1_000_000  # of config.json


@dataclass(frozen=True)
class Facts:
    """What `config.json` says.

    Attributes:
        config: `model`, the dotted class, and its arguments in `Model` or `Transformer`.
        weights: name of the file of weights.
        networks: the frozen networks that the model was trained with, as checkpoints keep them.
    """

    config: dict[str, Any]
    weights: str = WEIGHTS
    networks: dict[str, Any] = field(default_factory=dict)


def is_one(folder: Path) -> bool:
    """Whether a path is the folder of a model."""
    return (folder / CONFIG).is_file()


def read_facts(folder: Path) -> Facts:
    """Read `config.json`.

    Raises:
        UserError: it is too large, no JSON, or lacks a class or weights.
    """
    path = folder / CONFIG
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: has {path.stat().st_size:,} bytes; expected at most {MOST_BYTES:,}")
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({error}); export or download the model again") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), str):
        raise UserError(f"{path}: names no class; expected a `model`, such as invariances.flows.VectorTransformer")
    weights, networks = content.get("weights", WEIGHTS), content.get("networks", {})
    if not isinstance(weights, str) or Path(weights).name != weights or not isinstance(networks, dict):
        raise UserError(f"{path}: weights {weights!r}; expected the name of a file in this folder, such as {WEIGHTS}")
    return Facts({key: content[key] for key in ("model", *SECTIONS) if key in content}, weights, networks)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of safetensors.

    Raises:
        UserError: it is missing, damaged, or has values that are not finite.
    """
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; export or download the model again") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: is no file of safetensors, or damaged ({error}); copy it again") from error
    if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise UserError(f"{path}: {len(broken)} weights are not finite ({first(broken)})")
    return tensors


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically."""
    with atomic_write(path) as part:
        part.touch()
        readers = part.stat().st_mode  # of any new file; safetensors would write for the owner alone
        # clones: safetensors refuses tensors that share their memory
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, part)
        part.chmod(readers)


def write_facts(folder: Path, facts: Facts) -> None:
    """Write `config.json`, atomically. It comes last into a folder: with it, the folder counts as that of a model.

    >>> import tempfile
    >>> folder, facts = Path(tempfile.mkdtemp()), Facts({"model": "torch.nn.Identity"})
    >>> write_facts(folder, facts)
    >>> read_facts(folder) == facts
    True
    """
    content = {**facts.config, "weights": facts.weights, **({"networks": facts.networks} if facts.networks else {})}
    with atomic_write(folder / CONFIG) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
