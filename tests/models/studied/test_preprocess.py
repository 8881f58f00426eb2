import pytest
import torch
import torchvision

from invariances.models import Preprocess
from invariances.models.pretrained import _stated


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (0.0, (0.0655, 0.1964, 0.4178)),
        (1.0, (2.2489, 2.4286, 2.64)),
        (-1.0, (-2.1179, -2.0357, -1.8044)),
    ],
)
def test_constant_images_arrive_normalised(value, arrives):
    out = Preprocess(8)(torch.full((1, 3, 5, 5), value))
    torch.testing.assert_close(out[0, :, 3, 4], torch.tensor(arrives), atol=5e-5, rtol=0)


def test_images_of_the_right_size_keep_their_pixels():
    x = torch.rand(2, 3, 7, 7) * 2 - 1
    out = Preprocess(7, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(x)
    torch.testing.assert_close(out, x)


def test_resizing_interpolates_on_the_half_pixel_grid_without_antialiasing():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 10
    out = Preprocess(2, mean=(0.5,), std=(0.5,))(ramp)
    # output pixels lie at 1.5 and 5.5: the mean of the two nearest, not of all that are left out
    torch.testing.assert_close(out[0, 0], torch.tensor([[0.15, 0.55], [0.15, 0.55]]))


def test_gradients_pass_through():
    x = torch.zeros(1, 3, 4, 4, requires_grad=True)
    Preprocess(4)(x).sum().backward()
    torch.testing.assert_close(x.grad[0, :, 0, 0], 0.5 / torch.tensor((0.229, 0.224, 0.225)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_of_the_images_is_kept(dtype):
    assert Preprocess(4)(torch.zeros(1, 3, 4, 4, dtype=dtype)).dtype == dtype


def test_the_shorter_side_is_resized_and_the_centre_cut_out():
    ramp = torch.arange(12.0).expand(1, 1, 4, 12) / 12
    out = Preprocess(2, mean=(0.5,), std=(0.5,), resize=4)(ramp)
    torch.testing.assert_close(out[0, 0], ramp[0, 0, 1:3, 5:7])


@pytest.mark.parametrize("name", ["squeezenet1_1", "swin_t"])
def test_it_does_what_the_weights_of_torchvision_state(name):
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    x = torch.rand(1, 3, 300, 260, generator=torch.Generator().manual_seed(0)) / 2 + 0.25  # no overshooting
    ours = _stated(transforms)(2 * x - 1)
    torch.testing.assert_close(ours, transforms(x), atol=2e-3, rtol=0)


def test_settings_are_part_of_the_state():
    given = Preprocess([8, 4], mean=(0.1,), std=(0.2,), resize=9, interpolation="bicubic", antialias=True)
    other = Preprocess(4)
    other.load_state_dict(given.state_dict())
    assert other.settings == given.settings and repr(other) == repr(given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": [1, 2, 3]}, r"size is \[1, 2, 3\]"),
        ({"size": 8, "resize": 7}, "resize is 7; expected 8 or more"),
        ({"size": 8, "mean": [0.5]}, r"mean is \[0.5\] and std"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**settings)


def test_one_number_stands_for_all_channels():
    x = torch.rand(2, 3, 4, 4) * 2 - 1
    torch.testing.assert_close(Preprocess(None, mean=0.5, std=0.5)(x), x)
