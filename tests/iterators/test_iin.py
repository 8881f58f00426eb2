import math

import pytest
import torch

from invariances.errors import UserError
from invariances.flows import VectorTransformer
from invariances.iterators import IINIterator
from invariances.models import Autoencoder
from tests.iterators.worlds import Double, Pixels, Representation


@pytest.fixture
def images():
    return torch.randn(1000, 3, 1, 1, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_the_negative_log_likelihood(images):
    terms = IINIterator(Double(), Pixels(), learning_rate=1e-3).terms({"image": images})
    half = (2 * images).square().sum(dim=1).mean() / 2
    assert terms["loss"].item() == pytest.approx(half.item() - 3 * math.log(2), rel=1e-5)
    assert terms["half_v_squared"].item() == pytest.approx(half.item() / 3, rel=1e-5)
    assert terms["logdet"].item() == pytest.approx(3 * math.log(2))


def test_codes_are_drawn_from_the_posterior_and_pictures_use_its_mode(images):
    iterator = IINIterator(Double(), Pixels(spread=0.5), learning_rate=1e-3)
    noise = iterator.codes(images) - images
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(iterator.code(images), images)
    assert not iterator.codes(images.requires_grad_()).requires_grad


def test_a_first_stage_may_give_the_codes_themselves(images):
    iterator = IINIterator(Double(), Representation(), learning_rate=1e-3)
    assert torch.equal(iterator.codes(images), 2 * images) and torch.equal(iterator.code(images), 2 * images)


def test_factors_lead_back_to_the_code(images):
    iterator = IINIterator(Double(), Pixels(), learning_rate=1e-3)
    (v,) = iterator.to_factors(images)
    assert torch.equal(v, 2 * images) and torch.equal(iterator.to_code([v]), images)
    assert iterator.factor_names == ("all",)


def test_samples_are_decoded_draws_of_the_flow():
    iterator = IINIterator(Double(), Pixels(), learning_rate=1e-3)
    one, same = (iterator.sample_images(2000, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, same) and one.std().item() == pytest.approx(0.5, rel=0.03)


def test_views_show_inputs_reconstructions_and_samples(images):
    iterator = IINIterator(Double(), Pixels(), learning_rate=1e-3)
    views = dict(iterator.views(images[:5], 2, torch.Generator().manual_seed(0)))
    assert list(views) == ["input", "reconstruction", "sample 1", "sample 2"]
    assert torch.equal(views["reconstruction"], images[:5]) and views["sample 1"].shape == (5, 3, 1, 1)
    assert not torch.equal(views["sample 1"], views["sample 2"])


def test_the_first_stage_is_no_part_of_the_model():
    first_stage = Autoencoder(1, 8, 1, 6, norm="bn", width=2)
    iterator = IINIterator(VectorTransformer(6, 1, 0, 4), first_stage, learning_rate=1e-3).train()
    assert not first_stage.training and not any(p.requires_grad for p in first_stage.parameters())
    assert all(name.startswith("model.") or name == "step" for name in iterator.state_dict())


def test_codes_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"Transformer/in_channel is 4, but the codes of first_stage have 3.*use 3"):
        IINIterator(VectorTransformer(4, 1, 0, 4), Pixels(), learning_rate=1e-3)


def test_pairs_count_as_images_and_other_examples_are_refused():
    iterator = IINIterator(Double(), Pixels(), learning_rate=1e-3)
    pairs = {"example1": torch.zeros(2, 3, 1, 1), "example2": torch.zeros(2, 3, 1, 1)}
    assert iterator.on_after_batch_transfer(pairs, 0)["image"].shape == (4, 3, 1, 1)
    with pytest.raises(UserError, match="the examples have x; IINIterator also needs image"):
        iterator.on_after_batch_transfer({"x": torch.zeros(1)}, 0)
