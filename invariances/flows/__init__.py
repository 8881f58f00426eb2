"""Normalizing flows: invertible networks with tractable log-determinant, trained by maximum likelihood."""

from invariances.flows.conditional import ConditionalTransformer
from invariances.flows.unconditional import FactorTransformer, VectorTransformer

__all__ = ["ConditionalTransformer", "FactorTransformer", "VectorTransformer"]
