"""Weights from a file, whole and in part."""

import pytest
import torch
from torch import nn

from invariances.errors import UserError
from invariances.models.studied.weight_files import load_file


def net(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 4))


def saved(tmp_path, state):
    torch.save(state, tmp_path / "net.pt")
    return tmp_path / "net.pt"


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize("container", [None, "state_dict"])
def test_prefixes_and_containers_are_removed(tmp_path, prefix, container):
    source, target = net(), net()
    state = {prefix + name: weight for name, weight in source.state_dict().items()}
    assert load_file(target, saved(tmp_path, {container: state} if container else state)) is None
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_whole_files_are_loaded_strictly_with_counts(tmp_path):
    state = net().state_dict()
    del state["2.bias"]
    found = r"net.pt: does not fit Sequential: of 4 weights 1 missing \(2.bias\); save all of .* weights_partial: true"
    with pytest.raises(UserError, match=found):
        load_file(net(), saved(tmp_path, state))


def test_a_file_that_is_not_there_is_told_with_the_nearest_one(tmp_path):
    saved(tmp_path, net().state_dict())
    with pytest.raises(UserError, match=r"nett.pt: no such file; did you mean net.pt\?; expected one of torch.save"):
        load_file(net(), tmp_path / "nett.pt")


def test_partial_files_leave_the_rest_and_say_what_is_missing(tmp_path):
    source, target = net(), net()
    state = {name: weight for name, weight in source.state_dict().items() if name.startswith("0.")}
    before = target[2].weight.clone()
    missing = load_file(target, saved(tmp_path, state | {"head.bias": torch.zeros(1)}), partial=True)
    assert torch.equal(target[0].weight, source[0].weight) and torch.equal(target[2].weight, before)
    assert missing.endswith(
        "net.pt holds 2 of 4 weights; 2 have their start values (2.bias, 2.weight); of the file 1 not used (head.bias)"
    )


@pytest.mark.parametrize("state", [{"other": torch.zeros(1)}, net(5).state_dict()])
def test_partial_files_of_another_network_are_refused(tmp_path, state):
    with pytest.raises(UserError, match="does not fit Sequential"):
        load_file(net(), saved(tmp_path, state), partial=True)
