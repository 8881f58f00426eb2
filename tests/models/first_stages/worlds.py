"""Large networks in small."""

import torch

from invariances.flows.released import as_released
from invariances.models import BigAE


def small_bigae(**arguments) -> BigAE:
    torch.manual_seed(0)
    return BigAE(**{"in_size": 128, "z_dim": 101, "type": "resnet18", "norm": "bn", "width": 4} | arguments)


def as_released_file(network, names):
    """The state dict of a network as the released checkpoints have it: no singular vectors, but starts for them."""
    state = {name: value.clone() for name, value in as_released(network.state_dict(), names)}
    for name in [name for name in state if name.endswith("weight_u")]:
        state[name] = torch.randn_like(state[name])
        state[name.replace("weight_u", "weight_v")] = torch.randn_like(state[name])
    return state
