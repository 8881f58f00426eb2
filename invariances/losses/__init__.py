"""Losses: plain functions of tensors, and modules where a loss learns something itself."""

from invariances.losses.autoencoder import AutoencoderLoss
from invariances.losses.discriminator import PatchDiscriminator
from invariances.losses.flow import factor_nll, flow_nll

__all__ = ["AutoencoderLoss", "PatchDiscriminator", "factor_nll", "flow_nll"]
