import pytest
import torch

from invariances.errors import InvalidInput
from invariances.losses import AutoencoderLoss
from invariances.models.first_stages.bigae import NAMES
from tests import golden
from tests.models.first_stages.test_generator import names
from tests.models.first_stages.worlds import as_released_file, small_bigae


def test_names_are_those_of_the_released_autoencoder():
    autoencoder = small_bigae(type="resnet101", norm="an", use_actnorm_in_dec=True)
    assert names(autoencoder, NAMES) == golden.entry("bigae_animals")["shapes"].keys()


def images(n=2):
    return torch.rand(n, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_images_are_normalised_twice():
    encoder, seen = small_bigae().encoder.eval(), []
    encoder.network.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.zeros(1, 3, 128, 128))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    once = (0.5 - mean) / std
    torch.testing.assert_close(seen[0][0, :, 0, 0], ((once + 1) / 2 - mean) / std)


def test_nothing_changes_in_evaluation_mode():
    autoencoder = small_bigae().eval()
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    posterior = autoencoder.encode(images())
    first = autoencoder.decode(posterior.mode())
    assert torch.equal(first, autoencoder.decode(posterior.mode()))
    assert all(torch.equal(before[name], value) for name, value in autoencoder.state_dict().items())


def test_released_weights_are_loaded_strictly():
    released = as_released_file(small_bigae(), NAMES)
    autoencoder = small_bigae(deterministic=True)
    autoencoder.load_released(released)
    torch.testing.assert_close(autoencoder.encoder.head.weight, released["encoder.model.fc.sub_layers.0.weight"])
    name = "decoder.decoder.GBlock.2.conv0.module.weight_u"
    with pytest.raises(InvalidInput, match=f"1 missing .{name}"):
        autoencoder.load_released({key: value for key, value in released.items() if key != name})


def test_it_is_trained_by_the_loss_of_autoencoders():
    autoencoder = small_bigae(norm="an", use_actnorm_in_dec=True, deterministic=True)
    autoencoder(images())  # initialises the ActNorms
    autoencoder.eval()
    loss = AutoencoderLoss(disc_in_channels=3, disc_start=0, perceptual_weight=0.0, calibrate=True, disc_width=4)
    total, _ = loss.generator_loss(images(), *autoencoder(images()), autoencoder.last_layer, 1)
    total.backward()
    assert all(weight.grad is not None for weight in autoencoder.parameters())


def test_pretrained_encoders_have_batch_norm():
    with pytest.raises(InvalidInput, match="norm is 'an'; expected bn, since pretrained is true"):
        small_bigae(norm="an", pretrained=True)


def test_codes_and_images_of_another_size():
    autoencoder = small_bigae()
    with pytest.raises(InvalidInput, match=r"codes have shape \(2, 128, 1, 1\); expected \(B, 101, 1, 1\)"):
        autoencoder.decode(torch.zeros(2, 128, 1, 1))
    with pytest.raises(InvalidInput, match=r"expected \(B, 3, 128, 128\)"):
        autoencoder.encode(torch.zeros(2, 3, 64, 64))
