import pytest
import torch

from invariances.evaluation.metrics.fid.value_range import ImageChecker
from invariances.utils.images import from_uint8


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def through(images, value_range):
    checker = ImageChecker(value_range)
    found = torch.cat([checker(part) for part in images.split(3)])
    checker.close()
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_pictures_in_every_range(pixels, dtype):
    floats = from_uint8(pixels).to(dtype)
    assert torch.equal(through(floats, "[-1, 1]"), pixels)
    assert torch.equal(through(pixels.to(dtype) / 255, "[0, 1]"), pixels)
    assert torch.equal(through(pixels, "uint8"), pixels)


def test_small_overshoot_is_clipped():
    images = torch.tensor([-1.05, -1, 1, 1.05]).view(1, 1, 2, 2)
    assert through(images, "[-1, 1]").flatten().tolist() == [0, 0, 255, 255]


def test_C16_overshoot_is_told_from_a_thousandth_on(caplog):
    images = torch.tensor([-1.0005, -1, 1, 1.0005]).view(1, 1, 2, 2)
    through(images, "[-1, 1]")
    assert not caplog.text
    through(1.09 * images, "[-1, 1]")
    assert "images lie in [-1.09054, 1.09054], not in [-1, 1]; 100 % of the values were clipped" in caplog.text


def test_images_of_one_grey_are_no_evidence_of_a_range():
    """As those of a decoder before its training."""
    images = 1e-4 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert set(through(images, "[-1, 1]").flatten().tolist()) <= {127, 128}


@pytest.mark.parametrize("shift", [0, -0.001, 0.002])
def test_C16_one_value_is_no_evidence_of_a_range(shift):
    images = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + shift
    images[0, 0, 0, :2] = torch.tensor([-0.05, -1.0])
    with pytest.raises(ValueError, match=r"are they in \[0, 1\]\?"):
        through(images, "[-1, 1]")
    pixels = images.round().clamp(0, 1).to(torch.uint8)
    pixels[0, 0, 0, 0] = 2
    with pytest.raises(ValueError, match=r"were they cast from \[0, 1\]\?"):
        through(pixels, "uint8")


@pytest.mark.parametrize(
    ("convert", "value_range", "message"),
    [
        (lambda p: p / 255, "[-1, 1]", r"are they in \[0, 1\]\?"),
        (lambda p: p.float(), "[-1, 1]", r"declared to be in \[-1, 1\], but values lie in \[0, 255\]"),
        (lambda p: p, "[-1, 1]", "images are torch.uint8, but floats are declared"),
        (lambda p: p.int(), "[-1, 1]", "images are torch.int32, but floats are declared"),
        (from_uint8, "[0, 1]", r"declared to be in \[0, 1\], but values lie in \[-1, 1\]"),
        (lambda p: p.float(), "[0, 1]", r"values lie in \[0, 255\]"),
        (from_uint8, "uint8", "images are torch.float32, but torch.uint8 are declared"),
        (lambda p: (p / 255).to(torch.uint8), "uint8", r"were they cast from \[0, 1\]\?"),
    ],
)
def test_mixed_up_ranges_are_refused(pixels, convert, value_range, message):
    pixels[0, 0, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    with pytest.raises(ValueError, match=message):
        through(convert(pixels), value_range)


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_pictures_of_one_level_are_taken(level):
    assert through(torch.full((2, 1, 4, 4), level), "[-1, 1]").unique().numel() == 1


def test_broken_images_are_counted_over_the_whole_set(pixels):
    images = from_uint8(pixels)
    images[1, 0, 3, 3], images[3, 2] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="2 of 4 images hold NaN or infinite values"):
        through(images, "[-1, 1]")


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="empty"):
        ImageChecker().close()


def test_channels_are_checked():
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 3\); expected \(batch, 1 or 3 channels"):
        ImageChecker()(torch.zeros(2, 8, 8, 3))
