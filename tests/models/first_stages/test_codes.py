import pytest
import torch
from torch import nn

from invariances.errors import InvalidInput
from invariances.models import DiagonalGaussian, VectorCodes
from invariances.models.first_stages.codes import gaussian


class Halves(nn.Module):
    """The code is the image at half its size, (C, H/2, W/2)."""

    def __init__(self, kind="tensor"):
        super().__init__()
        self.kind = kind

    def encode(self, x):
        code = x[:, :, ::2, ::2]
        kinds = {
            "tensor": lambda: code,
            "ours": lambda: DiagonalGaussian(code, torch.full_like(code, -2.0)),
            "torch": lambda: torch.distributions.Normal(code, torch.full_like(code, -1.0).exp()),
        }
        return kinds[self.kind]()

    def decode(self, code):
        return code.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


IMAGES = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "deviation"), [("tensor", None), ("ours", -1.0), ("torch", -1.0)])
def test_spatial_codes_are_vectors_and_back(kind, deviation):
    codes = VectorCodes.of(Halves(kind), IMAGES[:1])
    posterior = codes.encode(IMAGES)
    assert codes.z_dim == 8 and posterior.mode().shape == (3, 8, 1, 1)
    torch.testing.assert_close(codes.decode(posterior.mode())[:, :, ::2, ::2], IMAGES[:, :, ::2, ::2])
    if deviation is None:
        assert torch.equal(posterior.sample(), posterior.mode())
    else:
        torch.testing.assert_close(posterior.logvar, torch.full((3, 8, 1, 1), 2 * deviation))


class Vectors(nn.Module):
    z_dim = 2

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def encode(self, x):
        return x.mean(dim=(2, 3)).reshape(len(x), *self.shape)


def test_vectors_stay_as_they_are():
    network = Vectors((2, 1, 1))
    assert VectorCodes.of(network, IMAGES[:1]) is network
    assert VectorCodes.of(Vectors((2,)), IMAGES[:1]).encode(IMAGES).mode().shape == (3, 2, 1, 1)


def test_images_of_another_size_than_the_probe():
    with pytest.raises(InvalidInput, match=r"codes of images \(2, 8, 8\) have shape \(2, 4, 4\); expected \(2, 2"):
        VectorCodes.of(Halves(), IMAGES[:1]).encode(torch.zeros(1, 2, 8, 8))


def test_codes_of_an_unknown_kind():
    with pytest.raises(InvalidInput, match="encode returned a tuple; expected a tensor, or a distribution"):
        gaussian((IMAGES, IMAGES))
