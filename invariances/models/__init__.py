"""Autoencoders, classifiers, and networks under study cut at a layer."""

from invariances.models.cutting import Layer
from invariances.models.distributions import DiagonalGaussian
from invariances.models.frozen import Frozen
from invariances.models.greybox import Greybox
from invariances.models.subjects import Preprocess

__all__ = ["DiagonalGaussian", "Frozen", "Greybox", "Layer", "Preprocess"]
