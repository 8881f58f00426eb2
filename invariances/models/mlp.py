"""A fully connected network, the baseline of the conditional flow."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from invariances.utils.arguments import require_at_least


class MLP(nn.Module):
    """Multilayer perceptron from representations to vectors: `hidden_depth` hidden layers with LeakyReLU 0.2.

    Args:
        in_features: size of a representation, C · H · W.
        out_features: channels of the output.
        hidden_dim: width of the hidden layers.
        hidden_depth: number of hidden layers, at least 1.

    Raises:
        InvalidInput: hidden_dim or hidden_depth is below 1.

    >>> import torch
    >>> MLP(5 * 2 * 2, 8, hidden_dim=16)(torch.randn(3, 5, 2, 2)).shape
    torch.Size([3, 8, 1, 1])
    """

    def __init__(self, in_features: int, out_features: int, hidden_dim: int, hidden_depth: int = 2) -> None:
        super().__init__()
        require_at_least(hidden_dim=(hidden_dim, 1), hidden_depth=(hidden_depth, 1))
        layers: list[nn.Module] = [nn.Flatten()]
        for sizes in pairwise([in_features, *[hidden_dim] * hidden_depth]):
            layers += [nn.Linear(*sizes), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden_dim, out_features))

    def forward(self, z: Float[Tensor, "batch *representation"]) -> Float[Tensor, "batch out_features 1 1"]:
        """Map representations (B, C, H, W) to vectors (B, out_features, 1, 1), any real values."""
        return self.layers(z)[:, :, None, None]
