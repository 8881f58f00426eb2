"""The layers of the flows: bijections with their log-determinants."""

from invariances.flows.layers.activation import InvertibleLeakyReLU
from invariances.flows.layers.actnorm import ActNorm, ActNormLayer
from invariances.flows.layers.base import Bijection
from invariances.flows.layers.coupling import DoubleCoupling
from invariances.flows.layers.permutation import Permutation

__all__ = ["ActNorm", "ActNormLayer", "Bijection", "DoubleCoupling", "InvertibleLeakyReLU", "Permutation"]
