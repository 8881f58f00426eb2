"""What a damaged checkpoint, or a stranger's, has left in a state that would fail or spread NaN."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from invariances.training.restoring import faults, faults_of_counters

WEIGHT = "expected a tensor of shape (2, 3)"


@pytest.fixture(params=[torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def trained(request):
    """An optimiser after a step, and a weight of it."""
    layer = nn.Linear(3, 2)
    settings = {"momentum": 0.9} if request.param is torch.optim.SGD else {}
    optimizer = request.param(layer.parameters(), lr=0.1, **settings)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer, layer.weight


def test_a_state_as_it_was_saved(trained):
    optimizer, _ = trained
    optimizer.load_state_dict(optimizer.state_dict())
    assert not list(faults(optimizer))


@pytest.mark.parametrize("value", [None, "a", float("nan"), [], {}])
def test_settings_of_another_kind(trained, value):
    optimizer, _ = trained
    optimizer.param_groups[0]["lr"] = value
    assert list(faults(optimizer)) == [f"lr of the optimiser: {value}; expected 0.1 or the like"]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (torch.ones(1), f"(1,); {WEIGHT}"),
        (3, f"int; {WEIGHT}"),
        (torch.full((2, 3), torch.nan), None),
    ],
)
def test_what_is_kept_for_a_weight(trained, value, fault):
    optimizer, weight = trained
    name = next(name for name in ("exp_avg", "momentum_buffer") if name in optimizer.state[weight])
    optimizer.state[weight][name] = value
    expected = f"{name} of the optimiser holds values that are not finite"
    assert list(faults(optimizer)) == [f"{name} of the optimiser: {fault}" if fault else expected]


def test_a_part_of_it_is_lost():
    weight = nn.Parameter(torch.ones(2, 3))
    other = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([weight, other])
    (weight.sum() + other.sum()).backward()
    optimizer.step()
    del optimizer.state[weight]["exp_avg"], optimizer.state[weight]["step"]
    found = list(faults(optimizer))
    assert found == [f"exp_avg of the optimiser: NoneType; {WEIGHT}", "step of the optimiser: None; expected a number"]


@pytest.mark.parametrize("state", [[], [1], 0])
def test_a_state_that_is_no_dict(state):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    optimizer.state[weight] = state
    name = type(state).__name__
    assert list(faults(optimizer)) == [f"state of the optimiser: {name}; expected a dict for each weight"]


def test_counters_of_a_trainer():
    loop = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu").fit_loop
    assert not list(faults_of_counters(loop.state_dict()))
    loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.current.ready = []
    (found,) = faults_of_counters(loop.state_dict())
    assert found == "epoch_loop.automatic_optimization.optim_progress of the training: []; expected a number"
