"""One LightningModule per training task."""

from invariances.iterators.autoencoder import AutoencoderIterator
from invariances.iterators.base import Iterator
from invariances.iterators.cinn import CINNIterator
from invariances.iterators.classifier import ClassifierIterator
from invariances.iterators.diin import DIINIterator
from invariances.iterators.iin import IINIterator

__all__ = [
    "AutoencoderIterator",
    "CINNIterator",
    "ClassifierIterator",
    "DIINIterator",
    "IINIterator",
    "Iterator",
]
