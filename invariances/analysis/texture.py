"""Images with the shape of one and the texture of another."""

import torch
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "batch channels height width"]


def with_texture_of(shape: Images, texture: Images) -> Images:
    """Images with the phases of `shape` and the amplitudes of `texture` in the Fourier domain, clipped to [-1, 1].

    Edges, and with them what people recognise, follow the phases; contrast, colour balance and periodic texture follow
    the amplitudes. (A. Oppenheim and J. Lim, The importance of phase in signals, Proc. IEEE 69, 1981)

    Args:
        shape, texture: in [-1, 1], of one size.

    >>> images = torch.rand(1, 3, 8, 8) * 2 - 1
    >>> torch.allclose(with_texture_of(images, images), images, atol=1e-5)
    True
    """
    phase = torch.fft.rfft2(shape).angle()
    mixed = torch.polar(torch.fft.rfft2(texture).abs(), phase)
    return torch.fft.irfft2(mixed, s=shape.shape[-2:]).clamp(-1, 1)
