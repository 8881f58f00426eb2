"""Values that leave the autograd graph."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from invariances.models.studied.hidden_paths import HiddenPaths


def no_grad(x):
    with torch.no_grad():
        return x * 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + x.detach(),
        lambda x: x + x.data,
        lambda x: x * x.max().item(),
        lambda x: x * (x > 0),
        lambda x: x[x.argmax() :],
        lambda x: x.topk(2).indices,
        no_grad,
        lambda x: checkpoint(torch.sin, x, use_reentrant=True),
    ],
)
def test_they_are_found(function):
    with HiddenPaths() as paths:
        function(torch.rand(3, requires_grad=True))
    assert paths.found


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cat([x, torch.zeros_like(x), x.new_ones(2)]),
        lambda x: torch.relu(x).view(x.size(0), -1).sum(),
        lambda x: (torch.arange(3) > 1) * x.split(3)[0],
    ],
)
def test_ordinary_functions_are_not(function):
    with HiddenPaths() as paths:
        function(torch.rand(3, requires_grad=True))
    assert not paths.found
