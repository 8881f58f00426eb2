"""Losses: plain functions of tensors, and modules where a loss has parameters of its own."""

from invariances.losses.autoencoder import AutoencoderLoss
from invariances.losses.discriminator import PatchDiscriminator
from invariances.losses.flow import factor_nll, flow_nll
from invariances.losses.perceptual import LPIPS, FeatureDistance

__all__ = ["LPIPS", "AutoencoderLoss", "FeatureDistance", "PatchDiscriminator", "factor_nll", "flow_nll"]
