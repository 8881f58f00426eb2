import copy

import pytest
import torch

from invariances.models import Autoencoder, Classifier
from invariances.models.blocks import grid_size


def small(**changed):
    return Autoencoder(**{"in_channels": 3, "in_size": 16, "n_down": 2, "z_dim": 6, "width": 4} | changed)


def started(autoencoder):
    """After a first training batch, from which ActNorm takes its start, in eval mode."""
    autoencoder(images(8))
    return autoencoder.eval()


def images(n=2, channels=3, size=16):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("norm", ["an", "bn", "none"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_reconstructions_are_shaped_as_the_images(norm, n, training):
    autoencoder = started(small(norm=norm)) if not training else small(norm=norm)
    reconstruction, posterior = autoencoder(images(n))
    assert reconstruction.shape == (n, 3, 16, 16)
    assert posterior.mean.shape == posterior.logvar.shape == (n, 6, 1, 1)
    assert reconstruction.isfinite().all() and reconstruction.abs().max() <= 1


@pytest.mark.parametrize(("size", "n_down"), [(32, 1), (32, 5), (48, 4), (64, 4), (8, 3)])
def test_any_size_that_can_be_halved_fits(size, n_down):
    autoencoder = small(in_size=size, n_down=n_down)
    assert autoencoder(images(size=size))[0].shape == (2, 3, size, size)


@pytest.mark.parametrize(
    ("size", "n_down", "nearest"), [(28, 4, 32), (30, 4, 32), (17, 4, 16), (3, 4, 16), (36, 3, 40)]
)
def test_other_sizes_are_refused_with_the_nearest_that_fits(size, n_down, nearest):
    with pytest.raises(ValueError, match=rf"in_size.*{size}.*n_down.*nearest: {nearest}"):
        small(in_size=size, n_down=n_down)
    grid_size(nearest, n_down)


@pytest.mark.parametrize("n_down", [0, 31, 10**9])
def test_n_down_is_1_to_30(n_down):
    with pytest.raises(ValueError, match=f"n_down is {n_down}; expected 1 to 30"):
        small(n_down=n_down)


@pytest.mark.parametrize(
    "wrong", [images(channels=1), images(size=32), images(size=15), images()[:, :, :1], images()[0]]
)
def test_images_of_another_shape_are_refused_not_broadcast(wrong):
    for module in (small(), Classifier(3, 16, 2, z_dim=6, n_classes=10, width=4)):
        with pytest.raises((ValueError, TypeError)):
            module(wrong)
    with pytest.raises(ValueError, match=r"\(2, 1, 16, 16\); expected \(B, 3, 16, 16\)"):
        small().encode(images(channels=1))


def test_bytes_are_refused():
    with pytest.raises(TypeError):
        small().encode((images() * 127).byte())


@pytest.mark.parametrize("shape", [(2, 6, 2, 2), (2, 5, 1, 1), (2, 6)])
def test_codes_of_another_shape_are_refused(shape):
    with pytest.raises((ValueError, TypeError)):
        small().decode(torch.zeros(shape))


def test_sampled_code_is_decoded():
    autoencoder, x = started(small()), images()
    torch.manual_seed(0)
    reconstruction, _ = autoencoder(x)
    torch.manual_seed(0)
    assert torch.equal(reconstruction, autoencoder.decode(autoencoder.encode(x).sample()))


def test_deterministic_autoencoder_decodes_the_mean():
    autoencoder, x = started(small(deterministic=True)), images()
    reconstruction, posterior = autoencoder(x)
    assert torch.equal(reconstruction, autoencoder.decode(posterior.mean))


def test_convolutions_start_at_a_spread_of_two_hundredths():
    torch.manual_seed(0)
    for part in Autoencoder(in_channels=3, in_size=32, n_down=4, z_dim=64).modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert part.weight.mean().abs().item() < 2e-3


def test_channels_double_up_to_sixteen_times_the_width():
    blocks = small(in_size=128, n_down=6, width=2).encoder.blocks
    assert [block.conv.out_channels for block in blocks] == [2, 4, 8, 16, 32, 32]


def test_last_layer_makes_the_image():
    autoencoder = small()
    assert autoencoder.last_layer.shape == (4, 3, 4, 4)
    autoencoder.last_layer.data.zero_()
    assert torch.equal(autoencoder.decode(torch.randn(1, 6, 1, 1)), torch.zeros(1, 3, 16, 16))


def test_gradients_reach_every_weight():
    autoencoder = small(norm="bn")
    reconstruction, posterior = autoencoder(images(4))
    (reconstruction.square().sum() + posterior.kl().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in autoencoder.parameters())


RELEASED = {
    "encoder.blocks.0.conv": "feature_layers.0.sub_layers.0",
    "encoder.blocks.0.norm": "feature_layers.0.sub_layers.1",
    "encoder.blocks.1.conv": "feature_layers.1.sub_layers.0",
    "encoder.blocks.1.norm": "feature_layers.1.sub_layers.1",
    "encoder.head": "dense_encode.sub_layers.0",
    "decoder.head": "dense_decode.sub_layers.0",
    "decoder.blocks.0.conv": "decoder_layers.0.sub_layers.0",
    "decoder.blocks.0.norm": "decoder_layers.0.sub_layers.1",
    "decoder.image": "image_layer.sub_layers.0",
}


def released(autoencoder):
    """Its weights under the names that the released checkpoints of two blocks use."""
    parts = {name: name.rpartition(".") for name in autoencoder.state_dict()}
    return {
        f"{RELEASED[part]}.{leaf}": autoencoder.state_dict()[name].clone()
        for name, (part, _, leaf) in parts.items()
    }


@pytest.mark.parametrize("norm", ["an", "bn", "none"])
def test_released_weights_give_the_same_autoencoder(norm):
    source, target = started(small(norm=norm)), small(norm=norm).eval()
    target.load_released(released(source))
    assert torch.equal(target.encode(images()).mean, source.encode(images()).mean)
    assert torch.equal(target.decode(torch.ones(1, 6, 1, 1)), source.decode(torch.ones(1, 6, 1, 1)))


def test_files_without_marks_of_actnorm_count_as_initialised():
    source, target = started(small()), small().eval()
    weights = {name: value for name, value in released(source).items() if not name.endswith("initialized")}
    with pytest.warns(UserWarning, match="taken as initialised"):
        target.load_released(weights)
    assert torch.equal(target.encode(images()).mean, source.encode(images()).mean)


def test_an_untrained_autoencoder_says_so():
    with pytest.raises(ValueError, match=r"encoder\.blocks\.0\.norm is not initialised"):
        small().eval()(images())


def test_weights_that_do_not_fit_are_listed_and_nothing_is_loaded():
    autoencoder = small(norm="none")
    before, weights = copy.deepcopy(autoencoder.state_dict()), released(small(norm="none"))
    del weights["dense_decode.sub_layers.0.bias"]
    weights["classifier.weight"] = torch.zeros(10, 6)
    weights["image_layer.sub_layers.0.weight"] = torch.zeros(4, 1, 4, 4)
    with pytest.raises(ValueError) as error:
        autoencoder.load_released(weights)
    assert "1 missing (dense_decode.sub_layers.0.bias)" in str(error.value)
    assert "1 unknown (classifier.weight)" in str(error.value)
    assert "image_layer.sub_layers.0.weight (4, 1, 4, 4) instead of (4, 3, 4, 4)" in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], value) for name, value in autoencoder.state_dict().items())


def test_weights_of_another_kind_of_network_are_refused():
    with pytest.raises(ValueError, match=r"none of the 8 weights is in it \(it has 0\.weight …, expected .* …\)"):
        small(norm="none").load_released(torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict())


@pytest.mark.parametrize("name", ["in_channels", "z_dim", "width"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}; expected 1 or more$"):
        small(**{name: value})


def test_a_batch_that_cannot_start_all_norms_starts_none():
    fresh = small(norm="an", n_down=4)
    with pytest.raises(ValueError, match="at least 2 values per channel"):
        fresh.encode(images(1))  # the last norm would see one value a channel
    assert not any(int(mark) for name, mark in fresh.state_dict().items() if name.endswith("initialized"))
    codes = fresh.encode(images(20)).mean
    torch.testing.assert_close(fresh.eval().encode(images(20)).mean, codes)
