import math

import pytest
import torch

from invariances.flows.layers.activation import InvertibleLeakyReLU


@pytest.mark.parametrize("slope", [0.9, 0.01, 2.0])
def test_negative_entries_are_scaled_and_counted(slope):
    x = torch.tensor([[1.0, -2.0, 0.0, -4.0], [1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    y, logdet = InvertibleLeakyReLU(slope)(x)
    assert y.tolist() == [[1, -2 * slope, 0, -4 * slope], [1, 2, 3, 4]]
    assert logdet.tolist() == [2 * math.log(slope), 0]
