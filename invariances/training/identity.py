"""Which networks a model was trained on: their fingerprints go into each checkpoint, and are compared when it is used.

Without this, a cINN would be evaluated on another network of the same shapes without a word, and most of its measures
would look as good as before.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from invariances.errors import UserError
from invariances.models import Frozen
from invariances.utils.weights import fingerprint

NETWORKS = "networks"  # key in a checkpoint


def identities(iterator: nn.Module) -> dict[str, dict[str, str]]:
    """Each frozen network of a training task: name -> class, layer if it is split, fingerprint.

    >>> task = nn.Module()
    >>> task.first_stage = Frozen(nn.Identity())
    >>> identities(task)["first_stage"]["class"]
    'Identity'
    """
    frozen = {name: module for name, module in iterator.named_modules() if isinstance(module, Frozen)}
    return {name: _identity(module.network) for name, module in frozen.items()}


def _identity(network: nn.Module) -> dict[str, str]:
    layer = getattr(network, "layer", None)
    studied = getattr(network, "studied", network)
    parts = {"class": type(studied).__name__} | ({"layer": str(layer)} if layer is not None else {})
    return parts | {"fingerprint": fingerprint(network)}


def require_same_networks(state: Mapping[str, Any], iterator: nn.Module, path: str | Path) -> None:
    """Refuse a checkpoint that was trained on other networks than those of the task; older files do not say.

    Raises:
        UserError: names the network, and both identities.
    """
    stored = state.get(NETWORKS)
    if not isinstance(stored, Mapping):
        return
    for name, found in identities(iterator).items():
        before = stored.get(name)
        if isinstance(before, Mapping) and before != found:
            raise UserError(
                f"{path}: was trained with another {name} ({_shown(before)}) than that of the config "
                f"({_shown(found)}); give the same network, or add --allow-other-network to use this one all the same"
            )


def _shown(identity: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in identity.items())
