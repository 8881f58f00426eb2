"""A disentangling INN of which everything is known: factor `first` is the first channel, the residual the rest."""

import torch
from torch import nn

from invariances.iterators import DIINIterator
from tests.iterators.worlds import DoubleFactors, Pixels


class Sign(nn.Module):
    """A classifier: class 1 where the first channel is positive."""

    def forward(self, x):
        first = x[:, 0].mean(dim=(1, 2))
        return torch.stack([-first, first], dim=1)


def iterator():
    return DIINIterator(DoubleFactors(), Pixels(), learning_rate=1e-3, factor_names=["first", "residual"]).eval()


def images(n=2000):
    """The first n images; each channel is N(0, ¼), so that the factors are N(0, 1)."""
    return torch.randn(2000, 3, 1, 1, generator=torch.Generator().manual_seed(0))[:n] / 2


def loader(n=2000):
    return [{"image": batch} for batch in images(n).split(100)]
