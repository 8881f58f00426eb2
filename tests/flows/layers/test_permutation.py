import torch

from invariances.flows.layers.permutation import Permutation


def test_both_tables_are_saved_and_undo_each_other():
    tables = Permutation(64).state_dict()
    assert sorted(tables) == ["backward_index", "forward_index"]
    there, back = tables["forward_index"], tables["backward_index"]
    assert torch.equal(there[back], torch.arange(64)) and torch.equal(back[there], torch.arange(64))


def test_channels_move_as_the_table_says():
    permutation = Permutation(3)
    permutation.forward_index.copy_(torch.tensor([2, 0, 1]))
    y, logdet = permutation(torch.tensor([[10.0, 11.0, 12.0]]))
    assert y.tolist() == [[12, 10, 11]] and logdet.tolist() == [0]


def test_the_order_is_random_and_follows_the_seed():
    orders = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        orders.append(Permutation(64).forward_index.tolist())
    assert orders[0] == orders[1] != orders[2]
