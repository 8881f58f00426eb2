import torch
from torch import nn

from invariances.flows.layers.coupling import DoubleCoupling, TwinNetwork


def single(twin, i):
    """One of the two networks, as a stack of ordinary layers."""
    layers = []
    for layer in twin:
        if isinstance(layer, nn.LeakyReLU):
            layers.append(nn.LeakyReLU(0.01))
        else:
            linear = nn.Linear(*layer.weight.shape[1:])
            linear.weight.data, linear.bias.data = layer.weight[i].T, layer.bias[i, 0]
            layers.append(linear)
    return nn.Sequential(*layers).double()


def test_twin_networks_are_two_networks():
    twin, x = (
        TwinNetwork(3, hidden_dim=8, hidden_depth=2, out_features=4).double(),
        torch.randn(5, 3).double(),
    )
    assert len(single(twin, 0)) == 7  # four linear layers
    for i, y in enumerate(twin(x)):
        torch.testing.assert_close(y, single(twin, i)(x), atol=1e-12, rtol=0)


def test_weights_start_as_those_of_a_linear_layer():
    torch.manual_seed(0)
    for layer in list(TwinNetwork(100, hidden_dim=400, hidden_depth=0, out_features=50))[::2]:
        bound = layer.weight.shape[1] ** -0.5
        for tensor in (layer.weight, layer.bias):
            assert tensor.abs().max() <= bound
            torch.testing.assert_close(tensor.std().item(), bound / 3**0.5, atol=0, rtol=0.1)


def test_double_coupling_by_its_formula():
    coupling = DoubleCoupling(7, hidden_dim=8, hidden_depth=1, embedding_channels=2).double()
    x, embedding = torch.randn(5, 7).double(), torch.randn(5, 2).double()
    a, b = x[:, :4], x[:, 4:]
    given = torch.cat([a, embedding], dim=1)
    s1, t1 = single(coupling.first, 0)(given).tanh(), single(coupling.first, 1)(given)
    b = b * s1.exp() + t1
    given = torch.cat([b, embedding], dim=1)
    s2, t2 = single(coupling.second, 0)(given).tanh(), single(coupling.second, 1)(given)
    a = a * s2.exp() + t2
    y, logdet = coupling(x, embedding)
    torch.testing.assert_close(y, torch.cat([b, a], dim=1), atol=1e-12, rtol=0)
    torch.testing.assert_close(logdet, s1.sum(1) + s2.sum(1), atol=1e-12, rtol=0)


def test_log_scales_are_bounded():
    coupling = DoubleCoupling(6, hidden_dim=8, hidden_depth=1)
    for network in (coupling.first, coupling.second):
        network[-1].bias.data[0] = 100
    _, logdet = coupling(torch.randn(5, 6))
    torch.testing.assert_close(logdet, torch.full((5,), 6.0))
