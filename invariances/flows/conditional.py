"""The conditional flow: codes given a representation."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.flows.chain import Activation, Chain, flow_block
from invariances.flows.embedder import ConvolutionalEmbedder, DenseEmbedder
from invariances.flows.layers.actnorm import register_actnorms
from invariances.flows.released import CONDITIONAL, load_released
from invariances.flows.vectors import check_vectors, from_rows, full_precision, normal, precision, require, to_rows

Codes = Float[Tensor, "batch channels *ones"]
LogDeterminant = Float[Tensor, " batch"]


class ConditionalTransformer(nn.Module):
    """Conditional INN (cINN): codes z̄ <-> invariances v ~ N(0, 1), given a representation z = Φ(x).

        v = t(z̄ | z)        z̄ = t⁻¹(v | z)

    An embedder turns z into a vector of in_channels values, a further input of every coupling network.
    Then come `n_flows` times ActNorm, activation, two affine couplings (see `DoubleCoupling`), permutation.
    All of it is computed in the precision of the weights, float32 or float64, also under autocast.

    Codes and invariances are (B, C, 1, 1) or (B, C); what comes back has the shape of what went in. z is
    (B, conditioning_in_channels, S, S), S = conditioning_spatial_size; for S = 1 the ones may be missing.
    Each code needs a row of its own. `embedding`, computed once by `embed`, may stand in place of z.

    Args:
        in_channels: channels C of the codes, 2 or more.
        mid_channels: width of the hidden layers of the coupling networks.
        hidden_depth: hidden layers of each coupling network after its first one.
        n_flows: number of flows.
        conditioning_in_channels, conditioning_spatial_size: channels and grid of z.
        embedder_down: for maps (S > 1): how often the embedder halves the grid, see `ConvolutionalEmbedder`.
        conditioning_depth: for vectors (S = 1): number of widths of the embedder, see `DenseEmbedder`.
        activation: "none", or "lrelu" for `InvertibleLeakyReLU`.
        conditioning_option: "none": all flows see the same embedding.

    Raises:
        ValueError: arguments too small or that do not fit together; codes or z of another shape; weights in
            half precision; anything but a training batch before the first one, see `ActNorm`.

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
        require(
            in_channels=(in_channels, 2),
            mid_channels=(mid_channels, 1),
            hidden_depth=(hidden_depth, 0),
            n_flows=(n_flows, 1),
            conditioning_in_channels=(conditioning_in_channels, 1),
            conditioning_spatial_size=(conditioning_spatial_size, 1),
            conditioning_depth=(conditioning_depth, 2),
        )
        if conditioning_option != "none":
            raise ValueError(f"conditioning_option is {conditioning_option!r}; expected none")
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
        """Map codes to invariances v; also gives log|det ∂v/∂z̄|."""
        with full_precision(self, code.device):
            v, logdet = self.flow(*self._rows(code, z, embedding))
        return from_rows(v, code.shape), logdet

    def inverse(self, v: Codes, z: Tensor | None = None, *, embedding: Tensor | None = None) -> Codes:
        """Map invariances to codes."""
        with full_precision(self, v.device):
            return from_rows(self.flow.inverse(*self._rows(v, z, embedding)), v.shape)

    def sample(
        self, z: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch {n} channels 1 1"]:
        """Draw n codes for each representation, with v ~ N(0, 1): one embedding, one batch."""
        require(n=(n, 1))
        with full_precision(self, z.device):
            embedding = self.embed(z).repeat_interleave(n, dim=0)
            codes = self.inverse(normal(embedding.shape, generator, embedding), embedding=embedding)
        return codes.unflatten(0, (len(z), n))

    def embed(self, z: Tensor) -> Float[Tensor, "batch channels 1 1"]:
        """The embedding of representations, to be used in place of them."""
        z = self._checked(z, len(z)).to(precision(self))
        with full_precision(self, z.device):
            return self.embedder(z)[:, :, None, None]

    def load_released(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take the weights of a released checkpoint.

        Raises:
            ValueError: names are missing, unknown or of another shape; nothing has changed then.
        """
        load_released(self, state_dict, CONDITIONAL)

    def _rows(self, x: Tensor, z: Tensor | None, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Codes or invariances, and the embedding of their condition, as rows."""
        check_vectors(x, self.in_channels, "in_channels")
        if embedding is None:
            embedding = self.embed(self._checked(z, len(x)))
        elif z is not None or embedding.shape != (len(x), self.in_channels, 1, 1):
            raise ValueError(
                f"the embedding has shape {tuple(embedding.shape)}; expected "
                f"{(len(x), self.in_channels, 1, 1)}, and no condition z beside it"
            )
        return to_rows(x, precision(self)), to_rows(embedding, precision(self))

    def _checked(self, z: Tensor | None, batch: int) -> Tensor:
        """The condition, refused if it has another shape than the constructor was told."""
        channels, size = self.condition
        shapes = [(batch, channels, size, size)] + [(batch, channels)] * (size == 1)
        if z is None or not z.is_floating_point() or tuple(z.shape) not in shapes:
            found = "missing" if z is None else f"{z.dtype} of shape {tuple(z.shape)}"
            expected = " or ".join(map(str, shapes))
            raise ValueError(
                f"the condition is {found}; expected floating point {expected}: a row for each code, "
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
        raise ValueError(
            f"embedder_down is {n_down}; expected 0 to {most} halvings of the grid, since "
            f"conditioning_spatial_size is {size}"
        )
    return ConvolutionalEmbedder(channels, size, n_down, out_channels)
