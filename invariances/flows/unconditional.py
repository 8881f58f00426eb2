"""Unconditional flows: the INN, and the INN whose output channels are grouped into factors."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.flows.chain import Chain, flow_block
from invariances.flows.layers.actnorm import register_actnorms
from invariances.flows.released import VECTOR, load_released
from invariances.flows.vectors import check_vectors, from_rows, full_precision, normal, precision, to_rows
from invariances.utils.arguments import require_at_least

Vectors = Float[Tensor, "batch channels *grid"]
Factors = Float[Tensor, "batch _channels *grid"]
LogDeterminant = Float[Tensor, " batch"]


class VectorTransformer(nn.Module):
    """Invertible interpretation network (IIN) between codes and N(0, 1), x <-> z.

    `n_flow` blocks of ActNorm, two affine couplings (see `DoubleCoupling`) and a fixed permutation. Everything is
    computed in the precision of the weights, float32 or float64, also under autocast and for half-precision
    codes, since inverting many layers needs it.

    Codes are (B, C, 1, 1) or (B, C), any real values; outputs have the shape of the input. Feature maps
    (B, C, H, W) are transformed at each position; the log-determinants of the positions add up.

    Args:
        in_channel: channels C of the codes, 2 or more.
        n_flow: number of blocks.
        hidden_depth: hidden layers of each coupling network after its first one.
        hidden_dim: width of the hidden layers.

    Raises:
        InvalidInput: an argument that is too small; codes with another number of channels; weights in half
            precision; ActNorms that are not initialised, see `ActNorm`.

    Source: Esser, Rombach and Ommer 2020, A disentangling invertible interpretation network, section 3.

    >>> iin = VectorTransformer(in_channel=8, n_flow=2, hidden_depth=1, hidden_dim=16)
    >>> x = torch.randn(32, 8, 1, 1)
    >>> z, logdet = iin(x)
    >>> z.shape, logdet.shape, torch.allclose(iin.inverse(z), x, atol=1e-5)
    (torch.Size([32, 8, 1, 1]), torch.Size([32]), True)
    >>> iin.sample(5).shape
    torch.Size([5, 8, 1, 1])
    """

    def __init__(self, in_channel: int, n_flow: int, hidden_depth: int, hidden_dim: int) -> None:
        super().__init__()
        require_at_least(
            in_channel=(in_channel, 2),
            n_flow=(n_flow, 1),
            hidden_depth=(hidden_depth, 0),
            hidden_dim=(hidden_dim, 1),
        )
        self.in_channel = in_channel
        self.flow = Chain(*(flow_block(in_channel, hidden_dim, hidden_depth) for _ in range(n_flow)))
        register_actnorms(self)

    def forward(self, x: Vectors) -> tuple[Vectors, LogDeterminant]:
        """Map codes to z, of the same shape, and compute log|det ∂z/∂x|, (B,)."""
        check_vectors(x, self.in_channel, "in_channel", maps=True)
        with full_precision(self, x.device):
            z, logdet = self.flow(to_rows(x, precision(self)))
        return from_rows(z, x.shape), logdet.view(len(x), -1).sum(1)

    def inverse(self, z: Vectors) -> Vectors:
        """Map z to codes of the same shape."""
        check_vectors(z, self.in_channel, "in_channel", maps=True)
        with full_precision(self, z.device):
            return from_rows(self.flow.inverse(to_rows(z, precision(self))), z.shape)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} channels 1 1"]:
        """Sample n codes, x = t⁻¹(z) with z ~ N(0, 1)."""
        weight = next(self.parameters())
        return self.inverse(normal((n, self.in_channel, 1, 1), generator, weight))

    def load_released(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of a released checkpoint, strictly.

        Raises:
            InvalidInput: names are missing, unknown or of another shape; the flow is unchanged then.
        """
        load_released(self, state_dict, VECTOR)


class FactorTransformer(nn.Module):
    """Disentangling IIN: codes x <-> factors e_0 … e_K, each N(0, 1); the last one is the residual.

    The flow is a `VectorTransformer`; factor e_k, (B, N_k, 1, 1), is the k-th slice of its output channels.

    Args:
        in_channel, n_flow, hidden_depth, hidden_dim: see `VectorTransformer`.
        n_factors: number of factors, including the residual.
        factor_config: their sizes N_k, 1 or more each, with sum in_channel. By default all have
            ⌈in_channel / n_factors⌉ channels, and the last one the remainder (as `torch.chunk`).

    Raises:
        InvalidInput: sizes that do not match; otherwise as `VectorTransformer`.
        TypeError: sizes that are no integers.

    Source: Esser, Rombach and Ommer 2020, A disentangling invertible interpretation network, section 3.1.

    >>> diin = FactorTransformer(in_channel=8, n_flow=2, hidden_depth=1, hidden_dim=16,
    ...                          n_factors=3, factor_config=[2, 1, 5])
    >>> x = torch.randn(32, 8, 1, 1)
    >>> factors, logdet = diin(x)
    >>> [tuple(e.shape) for e in factors], torch.allclose(diin.inverse(factors), x, atol=1e-5)
    ([(32, 2, 1, 1), (32, 1, 1, 1), (32, 5, 1, 1)], True)
    """

    def __init__(
        self,
        in_channel: int,
        n_flow: int,
        hidden_depth: int,
        hidden_dim: int,
        n_factors: int,
        factor_config: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        require_at_least(n_factors=(n_factors, 1))
        self.flow = VectorTransformer(in_channel, n_flow, hidden_depth, hidden_dim)
        self.sizes = _factor_sizes(in_channel, n_factors, factor_config)
        register_actnorms(self)

    def forward(self, x: Vectors) -> tuple[list[Factors], LogDeterminant]:
        """Map codes to their factors, a list of (B, N_k, …), and compute log|det ∂e/∂x|, (B,)."""
        e, logdet = self.flow(x)
        return list(e.split(self.sizes, dim=1)), logdet

    def inverse(self, factors: Sequence[Factors]) -> Vectors:
        """Map factors to codes, (B, C, …)."""
        got = [e.shape[1] for e in factors]
        if got != self.sizes:
            raise InvalidInput(f"the factors have {got} channels; expected {self.sizes}")
        return self.flow.inverse(torch.cat(list(factors), dim=1))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} channels 1 1"]:
        """Sample n codes, x = e⁻¹(z) with z ~ N(0, 1)."""
        return self.flow.sample(n, generator)

    def load_released(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of a released checkpoint, see `VectorTransformer.load_released`."""
        self.flow.load_released(state_dict)

    def extra_repr(self) -> str:
        """The sizes of the factors."""
        return f"sizes={self.sizes}"


def _factor_sizes(in_channel: int, n_factors: int, config: Sequence[int] | None) -> list[int]:
    """The sizes of the factors: as configured, or equal except for the last.

    >>> _factor_sizes(64, 3, None)
    [22, 22, 20]
    """
    if config is None:
        sizes = [len(channels) for channels in torch.arange(in_channel).chunk(n_factors)]
    elif not all(type(size) is int for size in config):
        raise TypeError(f"factor_config is {config!r}; expected {n_factors} integers with sum {in_channel}")
    else:
        sizes = list(config)
    if len(sizes) != n_factors or sum(sizes) != in_channel or min(sizes) < 1:
        source = "factor_config is" if config is not None else "without factor_config the sizes would be"
        raise InvalidInput(
            f"{source} {sizes}, {len(sizes)} sizes with sum {sum(sizes)}; expected {n_factors} (n_factors) of "
            f"1 or more with sum {in_channel} (in_channel)"
        )
    return sizes
