"""Autoencoders, classifiers, and networks under study, split at a layer."""

from invariances.models.autoencoder import Autoencoder
from invariances.models.classifier import Classifier, DigitClassifier, ResNetClassifier
from invariances.models.distributions import DiagonalGaussian
from invariances.models.frozen import Frozen
from invariances.models.greybox import Greybox
from invariances.models.mlp import MLP
from invariances.models.pretrained import Preprocess
from invariances.models.splitting import Layer

__all__ = [
    "MLP",
    "Autoencoder",
    "Classifier",
    "DiagonalGaussian",
    "DigitClassifier",
    "Frozen",
    "Greybox",
    "Layer",
    "Preprocess",
    "ResNetClassifier",
]
