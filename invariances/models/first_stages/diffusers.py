"""Autoencoders of the library diffusers, as first stages."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from invariances.errors import UserError
from invariances.models.distributions import DiagonalGaussian
from invariances.models.first_stages.codes import gaussian
from invariances.utils.hub_client import answering

PREFIX = "diffusers:"


class DiffusersAutoencoder(nn.Module):
    """An `AutoencoderKL`: images (B, C, H, W) in [-1, 1] <-> codes (B, c, H/f, W/f), near standard deviation 1.

    Args:
        network: its codes are multiplied by its `scaling_factor` after its `shift_factor`, if any, is taken away.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.scale = float(network.config.scaling_factor)
        self.shift = float(getattr(network.config, "shift_factor", None) or 0.0)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Encode images in [-1, 1] to a distribution over codes (B, c, H/f, W/f)."""
        posterior = gaussian(self.network.encode(x))
        return DiagonalGaussian(
            self.scale * (posterior.mean - self.shift), posterior.logvar + 2 * math.log(self.scale)
        )

    def decode(self, code: Tensor) -> Tensor:
        """Decode codes to images in [-1, 1]."""
        return self.network.decode(code / self.scale + self.shift).sample


def load_diffusers(name: str) -> DiffusersAutoencoder:
    """Load an `AutoencoderKL` in evaluation mode.

    Args:
        name: `diffusers:` and a local folder, as written by `save_pretrained`, or a name on the Hugging Face hub.

    Raises:
        UserError: diffusers is not installed; there is no such autoencoder, or it cannot be read.
    """
    source = name.removeprefix(PREFIX)
    try:
        from diffusers import AutoencoderKL
    except ModuleNotFoundError as error:
        raise UserError(f"{name}: needs diffusers; install it with: pip install 'invariances[diffusers]'") from error
    try:
        is_here = Path(source).is_dir()
        with nullcontext() if is_here else answering():
            network = AutoencoderKL.from_pretrained(source, local_files_only=is_here)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        expected = "a folder of AutoencoderKL.save_pretrained, or a name on the hub"
        raise UserError(f"{name}: {reason}; expected {expected}") from error
    return DiffusersAutoencoder(network).eval()
