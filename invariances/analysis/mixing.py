"""Images with the invariances v of one image and the representation z of another (ECCV 2020, section 4)."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.utils.arguments import require_at_least

Images = Float[Tensor, "_batch _channels _height _width"]


@torch.no_grad()
def invariances_of(cinn: Any, greybox: Any, autoencoder: Any, images: Images) -> Tensor:
    """What the code of each image holds beyond its representation: v = t(z̄ | z), (B, N, 1, 1).

    The code is the autoencoder's mean, so that the result is repeatable.

    Args:
        cinn: `ConditionalTransformer`.
        greybox: `Greybox`, z = encode(x).
        autoencoder: `Autoencoder`.
        images: in [-1, 1].
    """
    codes = autoencoder.encode(images).mode()
    return cinn(codes, greybox.encode(images))[0]


@torch.no_grad()
def mix(
    cinn: Any, greybox: Any, autoencoder: Any, of_v: Images, of_z: Images
) -> Float[Tensor, "rows columns _channels _height _width"]:
    """All combinations D(t⁻¹(v(x₁) | z(x₂))): rows share z, columns share v.

    Args:
        cinn, greybox, autoencoder: see `invariances_of`.
        of_v: images x₁ whose v is taken, one for each column.
        of_z: images x₂ whose z is taken, one for each row.

    Returns:
        images in [-1, 1]; where x₁ and x₂ are one image, its reconstruction.
    """
    v, z = invariances_of(cinn, greybox, autoencoder, of_v), greybox.encode(of_z)
    rows, columns = len(z), len(v)
    codes = cinn.inverse(v.repeat(rows, 1, 1, 1), z.repeat_interleave(columns, dim=0))
    return autoencoder.decode(codes).unflatten(0, (rows, columns))


def transfer(
    cinn: Any, greybox: Any, autoencoder: Any, still: Images, frames: Images, batch_size: int = 16
) -> Iterator[Images]:
    """Frames with the representation of one still image, and each frame's own invariances.

    Args:
        cinn, greybox, autoencoder: see `invariances_of`.
        still: the image whose z is taken, (1, C, H, W).
        frames: of a clip, (T, C, H, W) in [-1, 1].
        batch_size: frames at a time.

    Yields:
        the next frames, (≤ batch_size, C, H, W), so that the caller can show progress.

    Raises:
        InvalidInput: `batch_size` is below 1.
    """
    require_at_least(batch_size=(batch_size, 1))
    for batch in frames.split(batch_size):
        yield mix(cinn, greybox, autoencoder, batch, still)[0]
