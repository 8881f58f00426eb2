import copy
import math

import jaxtyping
import pytest
import torch
from torch import nn

from invariances.losses.autoencoder import AutoencoderLoss
from invariances.models import Autoencoder
from tests import golden


class Posterior:
    """A distribution of which only the divergence matters here."""

    def __init__(self, kl):
        self.divergence = kl

    def kl(self):
        return self.divergence


class Tiny(nn.Module):
    """An autoencoder of two convolutions, in double precision."""

    def __init__(self, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Conv2d(channels, 4, 3, padding=1)
        self.decoder = nn.Conv2d(4, channels, 3, padding=1)
        self.double()

    def forward(self, image):
        code = self.encoder(image)
        return self.decoder(code).tanh(), Posterior(0.5 * code.square().sum((1, 2, 3)))


class MeanDistance(nn.Module):
    """A perceptual distance with batch statistics and dropout, as networks have them."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, image1, image2):
        return (self.features(image1) - self.features(image2)).abs().mean((1, 2, 3))


def images(batch=2, channels=3, size=24):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, channels, size, size, generator=generator, dtype=torch.float64) * 2 - 1


def adversarial_loss(**arguments):
    torch.manual_seed(0)
    arguments = {"disc_start": 5, "perceptual_weight": 0.0, "disc_width": 8} | arguments
    return AutoencoderLoss(**arguments).double()


def generator_loss(loss, model, image, step=5):
    reconstruction, posterior = model(image)
    return loss.generator_loss(image, reconstruction, posterior, model.decoder.weight, step)


@pytest.fixture
def no_type_checks(monkeypatch):
    """Call the package as its users do, without the type checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def published():
    """The published autoencoder and loss, with the weights that the golden values belong to."""
    about = golden.entry("autoencoder_loss")
    model = Autoencoder(**about["config"]["Model"]).double()
    model.load_released(golden.filled(golden.entry("autoencoder")["shapes"], about["gain_model"]))
    loss = AutoencoderLoss(**about["config"]["Loss"]).double().eval()
    loss.discriminator.load_state_dict(golden.filled(about["discriminator_shapes"]))
    return loss, model.eval()


@pytest.mark.parametrize("step", [4, 5])
def test_golden_values(published, step):
    loss, model = published
    values, expected = golden.load("autoencoder_loss"), golden.load("autoencoder_loss", f"step{step}.")
    posterior = model.encode(values["input"])
    arguments = values["input"], model.decode(posterior.mode()), posterior, model.last_layer
    assert torch.allclose(arguments[1], values["reconstruction"], rtol=0, atol=1e-9)
    # the generator's weight and loss are known before disc_start too, but only computed from there on
    found = loss.generator_loss(*arguments, step=5)[1] | loss.generator_loss(*arguments, step=step)[1]
    found |= loss.discriminator_loss(*arguments[:2], step=step)[1]
    assert found.keys() >= expected.keys()
    assert {name: found[name].item() for name in expected} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("pixel_loss, error", [("l1", 0.5), ("l2", 0.25)])
def test_negative_elbo_by_hand(pixel_loss, error):
    loss = AutoencoderLoss(perceptual_weight=0.0, logvar_init=0.7, kl_weight=2.0, pixel_loss=pixel_loss)
    loss.double()
    image = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    value, logs = loss.negative_elbo(image, image + 0.5, Posterior(torch.tensor([1.0, 3.0]).double()))
    s = torch.tensor(0.7).item()  # as float32 has it
    assert logs["nll_loss"].item() == pytest.approx(48 * (error / math.exp(s) + s), rel=1e-12)
    assert logs["calibration"].item() == pytest.approx(48 * (error / math.exp(s) - 1), rel=1e-12)
    assert logs["kl_loss"] == 2 and logs["rec_loss"] == logs["pixel_loss"] == error
    assert value.item() == logs["loss"].item() == pytest.approx(logs["nll_loss"].item() + 2 * 2, rel=1e-12)
    assert not any(term.requires_grad for term in logs.values())


def test_perceptual_distance_counts_at_every_pixel():
    class Distance(nn.Module):
        def forward(self, image1, image2):
            return torch.tensor([1.0, 2.0])

    loss = AutoencoderLoss(perceptual_weight=0.5, perceptual=Distance())
    image = torch.zeros(2, 1, 4, 4)
    value, logs = loss.negative_elbo(image, image + 0.5, Posterior(torch.zeros(2)))
    assert value == 16 * (0.5 + 0.5 * 1.5)
    assert (logs["pixel_loss"], logs["perceptual_loss"], logs["rec_loss"]) == (0.5, 1.5, 1.25)


def test_the_best_log_variance_is_the_log_of_the_error():
    image = torch.zeros(1, 1, 8, 8)
    loss = AutoencoderLoss(perceptual_weight=0.0, logvar_init=math.log(0.5))
    value, logs = loss.negative_elbo(image, image + 0.5, Posterior(torch.zeros(1)))
    value.backward()
    assert abs(loss.logvar.grad) < 1e-5 and abs(logs["calibration"]) < 1e-5


def test_before_disc_start_the_generator_loss_is_the_negative_elbo():
    loss, model, image = adversarial_loss(), Tiny(), images()
    value, logs = generator_loss(loss, model, image, step=4)
    assert value == loss.negative_elbo(image, *model(image))[0]
    assert "g_loss" not in logs
    assert not loss.adversarial(4) and loss.adversarial(5)


def explicit_losses(loss, model, image):
    """nll, KL, g and the calibrated weight from the formulas, with nothing but autograd."""
    reconstruction, posterior = model(image)
    error = (image - reconstruction).abs()
    if loss.perceptual is not None:
        error = error + loss.perceptual_weight * loss.perceptual(image, reconstruction)[:, None, None, None]
    nll = (error / loss.logvar.exp() + loss.logvar).sum() / len(image)
    g_loss = -loss.discriminator(reconstruction).mean()
    gradients = [torch.autograd.grad(x, model.decoder.weight, retain_graph=True)[0] for x in (nll, g_loss)]
    weight = (gradients[0].norm() / (gradients[1].norm() + 1e-4)).clamp(0, 1e4)
    return nll, posterior.kl().mean(), g_loss, weight


@pytest.mark.parametrize(
    "arguments",
    [
        {"calibrate": True},
        {"calibrate": False, "discriminator_weight": 150.0},
        {"disc_factor": 0.5},
        {"disc_in_channels": 1},
        {"perceptual": MeanDistance(), "perceptual_weight": 2.0},
    ],
)
def test_value_and_gradients_of_the_generator_loss(arguments):
    loss, channels = adversarial_loss(logvar_init=0.3, **arguments), arguments.get("disc_in_channels", 3)
    model, image = Tiny(channels), images(channels=channels)
    learned = [*model.parameters(), loss.logvar]
    nll, kl, g_loss, weight = explicit_losses(loss, model, image)
    assert 1 < weight < 1e4
    weight = arguments.get("discriminator_weight", weight) * arguments.get("disc_factor", 1)
    expected = nll + kl + weight * g_loss
    gradients = torch.autograd.grad(expected, learned)
    value, logs = generator_loss(loss, model, image)
    value.backward()
    assert logs["d_weight"].item() == pytest.approx(float(weight), rel=1e-9)
    assert logs["g_loss"].item() == pytest.approx(g_loss.item(), rel=1e-9)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    for parameter, gradient in zip(learned, gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def test_the_weight_is_bounded_where_the_discriminator_is_flat():
    loss, model = adversarial_loss(), Tiny()
    nn.init.zeros_(loss.discriminator.main[-1].weight)
    value, logs = generator_loss(loss, model, images())
    assert logs["d_weight"] == 1e4 and value.isfinite()


def test_each_side_of_the_game_leaves_the_other_alone():
    loss, model, image = adversarial_loss(), Tiny(), images()
    generator_loss(loss, model, image)[0].backward()
    assert all(p.grad is None and p.requires_grad for p in loss.discriminator.parameters())
    model.zero_grad(set_to_none=True)
    loss.logvar.grad = None
    loss.discriminator_loss(image, model(image)[0], step=5)[0].backward()
    assert all(p.grad is not None for p in loss.discriminator.parameters())
    assert all(p.grad is None for p in [*model.parameters(), loss.logvar])


def test_discriminator_loss_by_hand():
    loss, image = adversarial_loss(), images()
    last = loss.discriminator.main[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 2.0)
    value, logs = loss.discriminator_loss(image, -image, step=5)
    expected = 0.5 * (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2)))
    assert value.item() == logs["d_loss"].item() == pytest.approx(expected, rel=1e-12)
    assert logs["logits_real"] == logs["logits_fake"] == 2
    assert loss.discriminator_loss(image, -image, step=4)[0] == 0


def test_discriminator_learns_to_tell_real_from_fake():
    loss = adversarial_loss(disc_start=0).float()
    image, fake = images().float(), torch.zeros(2, 3, 24, 24)
    optimizer = torch.optim.Adam(loss.discriminator.parameters(), lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        value, logs = loss.discriminator_loss(image, fake, step=0)
        value.backward()
        optimizer.step()
    assert value < 0.2 and logs["logits_real"] > 1 > -1 > logs["logits_fake"]


def test_without_disc_start_there_is_no_discriminator():
    loss = AutoencoderLoss(perceptual_weight=0.0)
    assert loss.discriminator is None and [name for name, _ in loss.named_parameters()] == ["logvar"]
    assert not loss.adversarial(10**9)
    with pytest.raises(ValueError, match="no discriminator, since disc_start is null"):
        loss.discriminator_loss(images().float(), images().float(), step=0)


def test_spectral_norm_and_layers_reach_the_discriminator():
    loss = adversarial_loss(spectral_norm=True, disc_num_layers=2, calibrate=False)
    assert len([name for name, _ in loss.named_parameters() if "parametrizations" in name]) == 4
    value, _ = generator_loss(loss, Tiny(), images(size=12))
    value.backward()
    assert all(p.requires_grad for p in loss.discriminator.parameters())


def test_perceptual_network_is_no_part_of_the_loss():
    loss = AutoencoderLoss(perceptual=MeanDistance()).train()
    before = copy.deepcopy(loss.perceptual.network.state_dict())
    image = images().float()
    first = loss.negative_elbo(image, -image, Posterior(torch.zeros(2)))[0]
    again = loss.negative_elbo(image, -image, Posterior(torch.zeros(2)))[0]
    assert first == again
    assert list(loss.state_dict()) == ["logvar"] and list(loss.parameters()) == [loss.logvar]
    assert not any(module.training for module in loss.perceptual.network.modules())
    after = loss.perceptual.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after)


def test_batch_of_one():
    value, logs = generator_loss(adversarial_loss(), Tiny(), images(batch=1))
    assert value.isfinite() and all(term.ndim == 0 and term.isfinite() for term in logs.values())


def test_a_nan_image_shows_in_the_terms_it_spoils():
    image = images()
    image[1] = math.nan
    posterior = Posterior(torch.ones(2).double())
    _, logs = adversarial_loss().negative_elbo(image, torch.zeros_like(image), posterior)
    assert {name for name, term in logs.items() if not term.isfinite()} == {
        "pixel_loss", "rec_loss", "nll_loss", "calibration", "loss",
    }  # fmt: skip


def test_state_dict_round_trip():
    loss, twin, image = adversarial_loss(logvar_init=0.3), adversarial_loss(logvar_init=0.0), images()
    twin.load_state_dict(loss.state_dict())
    assert generator_loss(loss.eval(), Tiny(), image)[0] == generator_loss(twin.eval(), Tiny(), image)[0]


def test_shapes_must_agree(no_type_checks):
    message = r"reconstruction has shape \(2, 1, 24, 24\); expected that of image, \(2, 3, 24, 24\)"
    with pytest.raises(ValueError, match=message):
        adversarial_loss().negative_elbo(images(), images(channels=1), Posterior(torch.zeros(2)))


def test_calibration_without_gradients_is_refused():
    with pytest.raises(ValueError, match="use negative_elbo for validation"), torch.no_grad():
        generator_loss(adversarial_loss(), Tiny(), images())


def test_unknown_pixel_loss_is_refused(no_type_checks):
    with pytest.raises(ValueError, match="pixel_loss is 'huber'; expected one of l1, l2"):
        AutoencoderLoss(perceptual_weight=0.0, pixel_loss="huber")
