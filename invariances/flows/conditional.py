"""The conditional flow: invariances of a code given a representation."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.flows.chain import Activation, Chain, flow_block
from invariances.flows.embedder import ConvolutionalEmbedder, DenseEmbedder
from invariances.flows.layers.actnorm import register_actnorms
from invariances.flows.released import CONDITIONAL, load_released
from invariances.flows.vectors import check_vectors, from_rows, full_precision, normal, precision, to_rows
from invariances.utils.arguments import require_at_least

Codes = Float[Tensor, "batch channels *ones"]
LogDeterminant = Float[Tensor, " batch"]


class ConditionalTransformer(nn.Module):
    """Conditional INN (cINN): codes z̄ <-> invariances v ~ N(0, 1), given a representation z = Φ(x).

        v = t(z̄ | z)        z̄ = t⁻¹(v | z)

    An embedder maps z to a vector of in_channels values, a further input of every coupling network. The flow has
    `n_flows` blocks of ActNorm, activation, two affine couplings (see `DoubleCoupling`) and a fixed permutation.
    Everything is computed in the precision of the weights, float32 or float64, also under autocast.

    Codes and invariances are (B, C, 1, 1) or (B, C), any real values; outputs have the shape of the input. z is
    (B, conditioning_in_channels, S, S) with S = conditioning_spatial_size, or (B, conditioning_in_channels) for
    S = 1, one row for each code. The result of `embed` may be passed as `embedding` instead of z.

    Args:
        in_channels: channels C of the codes, 2 or more.
        mid_channels: width of the hidden layers of the coupling networks.
        hidden_depth: hidden layers of each coupling network after its first one.
        n_flows: number of blocks.
        conditioning_in_channels, conditioning_spatial_size: channels and side S of z.
        embedder_down: for feature maps (S > 1): number of halvings of the grid, see `ConvolutionalEmbedder`.
        conditioning_depth: for vectors (S = 1): number of widths of the embedder, see `DenseEmbedder`.
        activation: "none", or "lrelu" for `InvertibleLeakyReLU`.
        conditioning_option: "none": all blocks receive the same embedding.

    Raises:
        InvalidInput: arguments that are too small or contradict each other; codes or z of another shape; weights
            in half precision; ActNorms that are not initialised, see `ActNorm`.

    Source: Rombach, Esser and Ommer 2020, Making sense of CNNs, section 3.2 and appendix.

    >>> cinn = ConditionalTransformer(in_channels=8, mid_channels=16, hidden_depth=1, n_flows=2,
    ...                               conditioning_in_channels=10, conditioning_spatial_size=1)
    >>> code, z = torch.randn(32, 8, 1, 1), torch.randn(32, 10)
    >>> v, logdet = cinn(code, z)
    >>> v.shape, logdet.shape, torch.allclose(cinn.inverse(v, z), code, atol=1e-5)
    (torch.Size([32, 8, 1, 1]), torch.Size([32]), True)
    >>> cinn.sample(z, n=4).shape
    torch.Size([32, 4, 8, 1, 1])
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        hidden_depth: int,
        n_flows: int,
        conditioning_in_channels: int,
        conditioning_spatial_size: int,
        embedder_down: int | None = None,
        conditioning_depth: int = 4,
        activation: Activation = "none",
        conditioning_option: Literal["none"] = "none",
    ) -> None:
        super().__init__()
        require_at_least(
            in_channels=(in_channels, 2),
            mid_channels=(mid_channels, 1),
            hidden_depth=(hidden_depth, 0),
            n_flows=(n_flows, 1),
            conditioning_in_channels=(conditioning_in_channels, 1),
            conditioning_spatial_size=(conditioning_spatial_size, 1),
            conditioning_depth=(conditioning_depth, 2),
        )
        if conditioning_option != "none":
            raise InvalidInput(f"conditioning_option is {conditioning_option!r}; expected none")
        self.in_channels = in_channels
        self.condition = (conditioning_in_channels, conditioning_spatial_size)
        self.embedder = _embedder(*self.condition, in_channels, embedder_down, conditioning_depth)
        self.flow = Chain(
            *(
                flow_block(in_channels, mid_channels, hidden_depth, in_channels, activation)
                for _ in range(n_flows)
            )
        )
        register_actnorms(self)

    def forward(
        self, code: Codes, z: Tensor | None = None, *, embedding: Tensor | None = None
    ) -> tuple[Codes, LogDeterminant]:
        """Map codes to invariances v, of the same shape, and compute log|det ∂v/∂z̄|, (B,)."""
        with full_precision(self, code.device):
            v, logdet = self.flow(*self._rows(code, z, embedding))
        return from_rows(v, code.shape), logdet

    def inverse(self, v: Codes, z: Tensor | None = None, *, embedding: Tensor | None = None) -> Codes:
        """Map invariances to codes of the same shape."""
        with full_precision(self, v.device):
            return from_rows(self.flow.inverse(*self._rows(v, z, embedding)), v.shape)

    def sample(
        self, z: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch {n} channels 1 1"]:
        """Sample n codes for each representation, t⁻¹(v | z) with v ~ N(0, 1), as one batch with z embedded once."""
        require_at_least(n=(n, 1))
        with full_precision(self, z.device):
            embedding = self.embed(z).repeat_interleave(n, dim=0)
            codes = self.inverse(normal(embedding.shape, generator, embedding), embedding=embedding)
        return codes.unflatten(0, (len(z), n))

    def embed(self, z: Tensor) -> Float[Tensor, "batch channels 1 1"]:
        """Embed representations, to be passed as `embedding` instead of z."""
        z = self._check_condition(z, len(z)).to(precision(self))
        with full_precision(self, z.device):
            return self.embedder(z)[:, :, None, None]

    def load_released(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of a released checkpoint, strictly.

        Raises:
            InvalidInput: names are missing, unknown or of another shape; the flow is unchanged then.
        """
        load_released(self, state_dict, CONDITIONAL)

    def _rows(self, x: Tensor, z: Tensor | None, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Codes or invariances, and their embedding, as rows (B, C)."""
        check_vectors(x, self.in_channels, "in_channels")
        if embedding is None:
            embedding = self.embed(self._check_condition(z, len(x)))
        elif z is not None or embedding.shape != (len(x), self.in_channels, 1, 1):
            raise InvalidInput(
                f"the embedding has shape {tuple(embedding.shape)}; expected "
                f"{(len(x), self.in_channels, 1, 1)}, without z"
            )
        return to_rows(x, precision(self)), to_rows(embedding, precision(self))

    def _check_condition(self, z: Tensor | None, batch: int) -> Tensor:
        """Return z if its dtype and shape are as the constructor's arguments say."""
        channels, size = self.condition
        shapes = [(batch, channels, size, size)] + [(batch, channels)] * (size == 1)
        if z is None or not z.is_floating_point() or tuple(z.shape) not in shapes:
            found = "missing" if z is None else f"{z.dtype} of shape {tuple(z.shape)}"
            expected = " or ".join(map(str, shapes))
            raise InvalidInput(
                f"the condition is {found}; expected floating point {expected}, one row for each code, with "
                f"conditioning_in_channels {channels}, conditioning_spatial_size {size}"
            )
        return z


def _embedder(
    channels: int, size: int, out_channels: int, n_down: int | None, depth: int
) -> DenseEmbedder | ConvolutionalEmbedder:
    """The embedder for representations (B, channels, size, size)."""
    if size == 1:
        return DenseEmbedder(channels, out_channels, depth)
    most = size.bit_length() - 1
    if n_down is None or not 0 <= n_down <= most:
        raise InvalidInput(
            f"embedder_down is {n_down}; expected 0 to {most} halvings of the grid, since "
            f"conditioning_spatial_size is {size}"
        )
    return ConvolutionalEmbedder(channels, size, n_down, out_channels)
