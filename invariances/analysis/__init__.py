"""Analyses of a network through the images of its representations, as functions of networks and images."""

from invariances.analysis.agreement import Agreement, agreement
from invariances.analysis.attacks import fgsm, pgd, random_signs
from invariances.analysis.attribute_order import attribute_values, in_order_of
from invariances.analysis.factor_edits import blend
from invariances.analysis.mixing import invariances_of, mix, transfer
from invariances.analysis.texture import with_texture_of

__all__ = [
    "Agreement",
    "agreement",
    "attribute_values",
    "blend",
    "fgsm",
    "in_order_of",
    "invariances_of",
    "mix",
    "pgd",
    "random_signs",
    "transfer",
    "with_texture_of",
]
