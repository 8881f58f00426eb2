"""Autoencoders, classifiers, and networks under study, split at a layer."""

from invariances.models.autoencoder import Autoencoder
from invariances.models.classifier import Classifier, DigitClassifier, ResNetClassifier
from invariances.models.distributions import DiagonalGaussian
from invariances.models.first_stages.bigae import BigAE
from invariances.models.first_stages.codes import VectorCodes
from invariances.models.first_stages.generator import BigGAN
from invariances.models.frozen import Frozen
from invariances.models.greybox import Greybox
from invariances.models.mlp import MLP
from invariances.models.splitting import Layer
from invariances.models.studied.preprocess import Preprocess

__all__ = [
    "MLP",
    "Autoencoder",
    "BigAE",
    "BigGAN",
    "Classifier",
    "DiagonalGaussian",
    "DigitClassifier",
    "Frozen",
    "Greybox",
    "Layer",
    "Preprocess",
    "ResNetClassifier",
    "VectorCodes",
]
