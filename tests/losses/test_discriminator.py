import pytest
import torch
from torch import nn

from invariances.losses.discriminator import PatchDiscriminator


def convolutions(network):
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("channels, size, patches", [(1, 32, 2), (3, 28, 1), (3, 64, 6)])
def test_one_logit_per_patch(channels, size, patches):
    logits = PatchDiscriminator(channels, width=8)(torch.zeros(2, channels, size, size))
    assert logits.shape == (2, 1, patches, patches)


def test_released_names_and_shapes():
    shapes = {name: tuple(value.shape) for name, value in PatchDiscriminator(3).state_dict().items()}
    assert shapes["main.0.weight"] == (64, 3, 4, 4)
    assert shapes["main.8.weight"] == (512, 256, 4, 4)
    assert shapes["main.11.weight"] == (1, 512, 4, 4)
    assert [name for name in shapes if name.endswith("bias") and len(shapes[name]) == 1] == [
        "main.0.bias",
        "main.3.bias",
        "main.6.bias",
        "main.9.bias",
        "main.11.bias",
    ]


@pytest.mark.parametrize("num_layers, least", [(1, 6), (2, 12), (3, 24)])
def test_least_size_is_tight(num_layers, least):
    network = PatchDiscriminator(1, num_layers=num_layers, width=4)
    assert network.min_size == least
    assert network(torch.zeros(1, 1, least, least)).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=f"at least {least} pixels a side, got {least}×{least - 1}"):
        network(torch.zeros(1, 1, least, least - 1))


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match="expected images with 3 channels, got 1"):
        PatchDiscriminator(3)(torch.zeros(1, 1, 32, 32))


@pytest.mark.parametrize("n", [0, 10**9])
def test_numbers_of_layers_that_no_image_has_are_refused(n):
    with pytest.raises(ValueError, match=f"num_layers is {n}; expected 1 to 30"):
        PatchDiscriminator(3, num_layers=n)


def test_initial_weights():
    torch.manual_seed(0)
    network = PatchDiscriminator(3)
    weights = torch.cat([conv.weight.detach().flatten() for conv in convolutions(network)])
    scales = torch.cat([m.weight.detach() for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    assert weights.mean().abs() < 1e-4 and weights.std() == pytest.approx(0.02, rel=0.01)
    assert scales.mean() == pytest.approx(1, abs=0.005) and scales.std() == pytest.approx(0.02, rel=0.15)


def test_spectral_norm_bounds_the_largest_singular_value():
    torch.manual_seed(0)
    network = PatchDiscriminator(3, width=8, spectral_norm=True).train()
    for _ in range(50):  # one power iteration each
        network(torch.zeros(1, 3, 32, 32))
    largest = [torch.linalg.matrix_norm(conv.weight.flatten(1), 2) for conv in convolutions(network)]
    assert torch.stack(largest).detach().numpy() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("channels, spectral_norm", [(3, False), (3, True), (1, True)])
def test_batch_normalisation_stands_beside_spectral_normalisation(channels, spectral_norm):
    network = PatchDiscriminator(channels, spectral_norm=spectral_norm)
    n_weights = sum(weight.numel() for weight in network.parameters())
    assert n_weights == 2_765_633 - (3 - channels) * 64 * 16  # as in the published experiments
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 3


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_batch_of_one_trains_every_weight(spectral_norm):
    torch.manual_seed(0)
    network = PatchDiscriminator(1, width=8, spectral_norm=spectral_norm).train()
    network(torch.randn(1, 1, 32, 32)).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in network.parameters())
