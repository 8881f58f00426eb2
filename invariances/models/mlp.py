"""A fully connected network, the plainest rival of a conditional flow."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """Representations to vectors, all at once and always the same: `hidden_depth` layers with LeakyReLU 0.2.

    Args:
        in_features: numbers in a representation, C · H · W.
        out_features: channels of the result.
        hidden_dim: width of the hidden layers.
        hidden_depth: number of hidden layers, at least 1.

    Raises:
        ValueError: a size is below 1.

    >>> import torch
    >>> MLP(5 * 2 * 2, 8, hidden_dim=16)(torch.randn(3, 5, 2, 2)).shape
    torch.Size([3, 8, 1, 1])
    """

    def __init__(self, in_features: int, out_features: int, hidden_dim: int, hidden_depth: int = 2) -> None:
        super().__init__()
        if hidden_dim < 1 or hidden_depth < 1:
            raise ValueError(f"hidden_dim is {hidden_dim}, hidden_depth {hidden_depth}; expected 1 or more of each")
        layers: list[nn.Module] = [nn.Flatten()]
        for sizes in pairwise([in_features, *[hidden_dim] * hidden_depth]):
            layers += [nn.Linear(*sizes), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden_dim, out_features))

    def forward(self, z: Float[Tensor, "batch *representation"]) -> Float[Tensor, "batch out_features 1 1"]:
        """(B, C, H, W) -> (B, out_features, 1, 1)."""
        return self.layers(z)[:, :, None, None]
