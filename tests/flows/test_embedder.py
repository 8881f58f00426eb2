import pytest
import torch
from torch import nn

from invariances.flows.embedder import ConvolutionalEmbedder, DenseEmbedder


@pytest.mark.parametrize(
    ("sizes", "widths"),
    [((4096, 128, 4), [4096, 2773, 1450, 128]), ((10, 8, 2), [10, 8]), ((149, 128, 3), [149, 138, 128])],
)
def test_widths_of_the_dense_embedder_are_evenly_spaced(sizes, widths):
    linear = [layer for layer in DenseEmbedder(*sizes).modules() if isinstance(layer, nn.Linear)]
    assert [linear[0].in_features, *(layer.out_features for layer in linear)] == widths


def test_vectors_come_with_or_without_ones():
    embedder, z = DenseEmbedder(10, 8, depth=4), torch.randn(16, 10)
    assert torch.equal(embedder(z), embedder(z[:, :, None, None]))


@pytest.mark.parametrize(
    ("size", "n_down", "channels"),
    [(13, 2, [5, 64, 128]), (8, 0, [5]), (64, 6, [5, 64, 128, 256, 512, 1024, 1024])],
)
def test_stages_of_the_convolutional_embedder(size, n_down, channels):
    embedder = ConvolutionalEmbedder(5, size, n_down, out_channels=8)
    convolutions = [layer for layer in embedder.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.in_channels for layer in convolutions] == channels
    assert embedder(torch.randn(3, 5, size, size)).shape == (3, 8)
