"""Analyses of a network through the images of its representations, as functions of networks and images."""

from invariances.analysis.agreement import Agreement, agreement
from invariances.analysis.attacks import fgsm, pgd, random_signs
from invariances.analysis.factor_edits import blend
from invariances.analysis.mixing import invariances_of, mix, transfer
from invariances.analysis.texture import with_texture_of

__all__ = [
    "Agreement",
    "agreement",
    "blend",
    "fgsm",
    "invariances_of",
    "mix",
    "pgd",
    "random_signs",
    "transfer",
    "with_texture_of",
]
