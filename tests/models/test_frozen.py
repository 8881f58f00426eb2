import copy

import torch
from torch import nn

from invariances.models.frozen import Frozen


def network():
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2)
    return nn.Sequential(*layers)


def owner():
    return nn.ModuleDict({"frozen": Frozen(network()), "learned": nn.Linear(2, 2)})


def test_owner_sees_no_parameters_and_no_state():
    module = owner()
    assert [name for name, _ in module.named_parameters()] == ["learned.weight", "learned.bias"]
    assert list(module.state_dict()) == ["learned.weight", "learned.bias"]
    assert list(module["frozen"].buffers()) == []


def test_train_on_the_owner_leaves_it_in_evaluation_mode():
    module = owner().train()
    assert module["learned"].training
    assert not any(part.training for part in module["frozen"].network.modules())


def test_twenty_training_steps_change_nothing_in_it():
    torch.manual_seed(0)
    module = owner().train()
    frozen = module["frozen"]
    before = copy.deepcopy(frozen.network.state_dict())
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    images = torch.randn(3, 1, 8, 8)
    first = frozen(images)
    for _ in range(20):
        optimizer.zero_grad()
        module["learned"](frozen(images)).square().sum().backward()
        optimizer.step()
    assert torch.equal(frozen(images), first)
    assert all(torch.equal(before[name], value) for name, value in frozen.network.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in frozen.network.parameters())


def test_gradients_reach_the_input():
    images = torch.randn(1, 1, 8, 8, requires_grad=True)
    Frozen(network())(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_changes_of_dtype_and_device_reach_the_network():
    module = owner().double().to("meta")
    tensors = [*module["frozen"].network.parameters(), *module["frozen"].network.buffers()]
    assert {(t.dtype, t.device.type) for t in tensors} == {(torch.float64, "meta"), (torch.int64, "meta")}
    assert not any(p.requires_grad for p in module["frozen"].network.parameters())


def test_initialisation_of_the_owner_does_not_reach_it():
    module = owner()
    before = copy.deepcopy(module["frozen"].network.state_dict())
    module.apply(lambda part: [nn.init.zeros_(p) for p in part.parameters(recurse=False)])
    after = module["frozen"].network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after)


def test_a_copy_has_a_network_of_its_own():
    frozen = Frozen(network())
    twin = copy.deepcopy(frozen)
    assert twin.network is not frozen.network
    assert not any(p.requires_grad for p in twin.network.parameters())
