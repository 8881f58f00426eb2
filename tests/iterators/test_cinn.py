import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from invariances.flows import ConditionalTransformer
from invariances.iterators import CINNIterator
from tests.iterators.worlds import Pixels


class FirstPixel(nn.Module):
    """The network under study: the representation is the first pixel."""

    layer, depth, shape = "first", 0, (1, 1, 1)

    def encode(self, x):
        return x[:, :1]


def images(n=64):
    """Three pixels (a, 2 a, b)."""
    a, b = torch.randn(2, n, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    return torch.cat([a, 2 * a, b], dim=1)


def iterator(**arguments):
    torch.manual_seed(0)
    flow = ConditionalTransformer(3, 8, 1, 2, conditioning_in_channels=1, conditioning_spatial_size=1)
    return CINNIterator(flow, FirstPixel(), Pixels(spread=0.1), learning_rate=1e-2, **arguments)


def trained(task, n_epochs=1, **arguments):
    loader = DataLoader([{"image": image} for image in images()], batch_size=16)
    quiet = {name: False for name in ("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "logger")}
    pl.Trainer(max_epochs=n_epochs, accelerator="cpu", **quiet, **arguments).fit(task, loader)
    return task


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "clipping",
    [{}, {"gradient_clip_val": 0.1}, {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}],
)
def test_the_flow_trains_bit_for_bit_as_without_a_baseline(clipping):
    alone, together = trained(iterator(), **clipping), trained(iterator(baseline_dim=8), **clipping)
    before = iterator()
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(weight, together.model.state_dict()[name]), name
    moved = [not torch.equal(w, before.model.state_dict()[n]) for n, w in alone.model.named_parameters()]
    assert all(moved)


def test_gradients_are_clipped_apart():
    task = iterator(baseline_dim=8)
    for parameter in task.parameters():
        parameter.grad = torch.ones_like(parameter)
    task.configure_gradient_clipping(None, 0.5, None)
    for part in (task.model, task.baseline):
        norm = torch.stack([parameter.grad.norm() for parameter in part.parameters()]).norm()
        assert norm.item() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_the_baseline_learns_the_mean_of_the_codes_that_a_representation_leaves_open():
    task = trained(iterator(baseline_dim=32), n_epochs=60)
    z = torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1)
    predicted = task.baseline(z).flatten(1)
    expected = torch.cat([z, 2 * z, torch.full_like(z, images()[:, 2].mean())], dim=1).flatten(1)
    torch.testing.assert_close(predicted[:, :2], expected[:, :2], atol=0.25, rtol=0)
    with torch.no_grad():
        terms = task.terms({"image": images()})
    left = images()[:, 2].var().item() / 3  # what no prediction tells, a third of the code
    assert terms["baseline_loss"].item() == pytest.approx(left, abs=0.15)


def test_without_a_baseline_nothing_is_said_of_one():
    assert iterator().baseline is None
    assert "baseline_loss" not in iterator().train().terms({"image": images()})
    with pytest.raises(ValueError, match="hidden_dim is 0"):
        iterator(baseline_dim=0)


def test_one_sample_for_each_image():
    task = iterator()
    task.terms({"image": images()})  # initialises the flow
    task.eval()
    found = task.sample_like(images(), torch.Generator().manual_seed(3))
    codes = task.model.sample(images()[:, :1], 1, torch.Generator().manual_seed(3))
    assert torch.equal(found, codes[:, 0])


def test_views_end_with_mean_and_spread_of_the_samples():
    task = iterator()
    task.terms({"image": images()})
    task.eval()
    views = dict(task.views(images(6), 4, torch.Generator().manual_seed(3)))
    assert list(views) == ["input", "reconstruction", *(f"sample {i}" for i in range(1, 5)), "mean", "spread"]
    samples = torch.stack([views[f"sample {i}"] for i in range(1, 5)])
    torch.testing.assert_close(views["mean"], samples.mean(dim=0))
    torch.testing.assert_close((views["spread"] + 1) / 2, (samples - samples.mean(dim=0)).square().mean(dim=0).sqrt())


def test_weight_decay_spares_the_embedder():
    task = iterator(weight_decay=0.5, baseline_dim=8)
    groups = task.configure_optimizers().param_groups
    rates = {each: group["weight_decay"] for group in groups for each in group["params"]}
    assert {rates[each] for each in task.model.embedder.parameters()} == {0}
    assert {rates[each] for network in (task.model.flow, task.baseline) for each in network.parameters()} == {0.5}
    assert len(rates) == len(list(task.parameters()))
