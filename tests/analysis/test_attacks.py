import math

import pytest
import torch
from torch import nn

from invariances.analysis import fgsm, pgd, random_signs
from invariances.errors import InvalidInput


@pytest.fixture
def linear():
    """Logits w·x and 0: the gradient has the sign of w."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    network[1].weight.data = torch.tensor([[1.0, -2.0, 3.0, -4.0], [0.0, 0.0, 0.0, 0.0]])
    return network


def images(*values):
    return torch.tensor(values).reshape(1, 1, 2, 2)


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_a_linear_network_is_attacked_against_its_weights(linear, attack):
    attacked = attack(linear, images(0.5, 0.0, 0.0, 0.0), 0.1)  # of the first class
    assert torch.allclose(attacked, images(0.4, 0.1, -0.1, 0.1), atol=1e-6)
    attacked = attack(linear, images(-0.5, 0.0, 0.0, 0.0), 0.1)  # of the second
    assert torch.allclose(attacked, images(-0.4, -0.1, 0.1, -0.1), atol=1e-6)


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_the_result_stays_an_image(linear, attack):
    assert attack(linear, images(1.0, -1.0, 0.95, 0.0), 0.3).abs().max() <= 1
    assert torch.equal(attack(linear, images(0.5, 0.0, 0.0, 0.0), 0.0), images(0.5, 0.0, 0.0, 0.0))


def test_several_steps_do_more_than_one_where_the_gradient_turns():
    class Ring(nn.Module):
        """Of the first class near the origin; the gradient at the image points to a wrong side for larger steps."""

        def forward(self, x):
            x = x.flatten(1)
            return torch.stack([torch.zeros(len(x)), 10 * (x[:, 0] - 0.2) * (x[:, 0] + 0.05) - 1], dim=1)

    x = torch.tensor([0.05]).reshape(1, 1, 1, 1)
    margin = {name: Ring()(attack(Ring(), x, 0.2)).diff().item() for name, attack in {"fgsm": fgsm, "pgd": pgd}.items()}
    assert margin["pgd"] >= margin["fgsm"]


def test_an_attack_leaves_the_network_and_the_mode_of_gradients_alone(linear):
    with torch.no_grad():
        fgsm(linear, images(0.5, 0.0, 0.0, 0.0), 0.1)
    with torch.inference_mode():
        attacked = pgd(linear, images(0.5, 0.0, 0.0, 0.0), 0.1)
    assert linear[1].weight.grad is None and attacked.shape == (1, 1, 2, 2)


def test_noise_has_the_size_of_the_attack():
    noisy = random_signs(torch.zeros(2, 3, 16, 16), 0.25, torch.Generator().manual_seed(0))
    assert set(noisy.unique().tolist()) == {-0.25, 0.25} and abs(noisy.mean().item()) < 0.05
    assert torch.equal(noisy, random_signs(torch.zeros(2, 3, 16, 16), 0.25, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("epsilon", [-0.1, math.inf, math.nan])
def test_a_size_that_is_none_is_refused(linear, epsilon):
    with pytest.raises(InvalidInput, match="epsilon is"):
        fgsm(linear, images(0.5, 0.0, 0.0, 0.0), epsilon)
    with pytest.raises(InvalidInput, match="n_steps is 0; expected 1 or more"):
        pgd(linear, images(0.5, 0.0, 0.0, 0.0), 0.1, n_steps=0)
