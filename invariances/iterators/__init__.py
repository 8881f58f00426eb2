"""One LightningModule per training task."""

from invariances.iterators.autoencoder import AutoencoderIterator
from invariances.iterators.base import Iterator
from invariances.iterators.cinn import CINNIterator
from invariances.iterators.classifier import ClassifierIterator

__all__ = ["AutoencoderIterator", "CINNIterator", "ClassifierIterator", "Iterator"]
