import pytest
import torch

from invariances.errors import InvalidInput
from invariances.flows.released import as_released
from invariances.models import BigGAN
from invariances.models.first_stages.generator import RELEASED, SelfAttention
from tests import golden
from tests.models.first_stages.worlds import as_released_file


def names(network, rules):
    return {name for name, _ in as_released(network.state_dict(), rules)}


def test_names_are_those_of_the_released_generator():
    assert names(small(256), RELEASED) == golden.entry("biggan_256")["shapes"].keys()


def small(size=128, **arguments):
    torch.manual_seed(0)
    return BigGAN(size, n_classes=7, class_dim=5, width=4, **arguments)


@pytest.mark.parametrize(("size", "z_dim"), [(128, 120), (256, 140)])
def test_published_latents(size, z_dim):
    generator = small(size).eval()
    image = generator(torch.randn(1, z_dim), torch.randn(1, 5, 1, 1))
    assert image.shape == (1, 3, size, size) and image.abs().max() <= 1


def test_every_part_of_the_latent_and_the_class_count():
    generator = small().eval()
    generator.attention.gamma.data.fill_(1.0)
    z, c = torch.randn(1, 120, requires_grad=True), torch.randn(1, 5, requires_grad=True)
    generator(z, c).square().sum().backward()
    assert (z.grad != 0).all() and (c.grad != 0).all()


def test_a_class_is_embedded_as_its_one_hot_vector():
    generator = small()
    classes = torch.tensor([6, 0])
    expected = generator.class_embedding(torch.nn.functional.one_hot(classes, 7).float())
    torch.testing.assert_close(generator.embed(classes), expected)


def test_spectral_norms_change_in_training_only():
    generator = small(norm="an")
    inputs = torch.randn(4, 120), torch.randn(4, 5)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    generator(*inputs)
    after = {name: value.clone() for name, value in generator.state_dict().items()}
    assert any(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight.0._u"))
    generator.eval()
    assert torch.equal(generator(*inputs), generator(*inputs))
    assert all(torch.equal(after[name], value) for name, value in generator.state_dict().items())


def test_one_power_iteration_from_the_released_vectors():
    generator, other = small(), small()
    released = as_released_file(generator, RELEASED)
    other.load_released(released)
    w, u = released["colorize.module.weight_bar"], released["colorize.module.weight_u"]
    v = w.flatten(1).T @ u
    v = v / (v.norm() + 1e-4)
    sigma = (w.flatten(1) @ v).square().sum() / ((w.flatten(1) @ v).norm() + 1e-4)
    torch.testing.assert_close(other.eval().colorize.weight, w / sigma)


def test_attention_reads_the_largest_value_around_the_most_similar_key():
    attention = SelfAttention(8).eval()  # in training, each pass moves the spectral norms
    assert torch.equal(attention(x := torch.randn(2, 8, 4, 4)), x)  # off at the start
    attention.gamma.data.fill_(1.0)
    constant = torch.ones(1, 8, 4, 4)
    out = attention(constant)
    torch.testing.assert_close(out, constant + attention.out(attention.g(constant)))


@pytest.mark.parametrize(
    "arguments", [{"width": 6}, {"width": 0}, {"size": 128, "z_dim": 100}, {"size": 256, "z_dim": 120}]
)
def test_arguments_out_of_range(arguments):
    with pytest.raises(InvalidInput):
        BigGAN(**{"width": 4} | arguments)


def test_latents_of_another_size():
    with pytest.raises(InvalidInput, match=r"z has shape \(2, 100\); expected \(B, 120\)"):
        small()(torch.randn(2, 100), torch.randn(2, 5))
    with pytest.raises(InvalidInput, match="class_embedding has shape"):
        small()(torch.randn(2, 120), torch.randn(2, 6))


def test_a_frozen_generator_computes_the_same():
    generator = small().eval()
    generator.attention.gamma.data.fill_(1.0)
    for block in generator.blocks:
        block.norm0.bn.running_mean.normal_()
        block.norm1.bn.running_var.uniform_(0.5, 2.0)
    inputs = torch.randn(2, 120), torch.randn(2, 5)
    expected = generator(*inputs).detach()
    torch.testing.assert_close(generator.requires_grad_(False)(*inputs), expected)
    with torch.no_grad():
        generator.blocks[0].conv0.parametrizations.weight.original[:, 0] += 1.0
    changed = generator(*inputs)
    assert not torch.allclose(changed, expected)
    torch.testing.assert_close(generator.requires_grad_(True)(*inputs), changed)
    torch.testing.assert_close(generator.requires_grad_(False).double()(*(x.double() for x in inputs)).float(), changed)
