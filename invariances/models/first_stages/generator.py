"""The generator of BigGAN."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from invariances.errors import InvalidInput
from invariances.flows.layers.actnorm import register_actnorms, restored_on_failure
from invariances.flows.released import load_released
from invariances.models.blocks import NORMS
from invariances.models.kept import Kept, is_frozen
from invariances.utils.arguments import require_at_least

# Channels before and after each block, from the coarsest grid to the finest, in multiples of the width.
WIDTHS = {128: (16, 16, 8, 4, 2, 1), 256: (16, 16, 8, 8, 4, 2, 1)}
GRID = 4  # side of the coarsest grid
PART = 20  # values of z that each block receives
EPS = 1e-4  # of the released batch norms and spectral norms
RELEASED = (  # also where the generator is a part of another network
    (r"(^|\.)class_embedding\.", r"\1linear."),
    (r"(^|\.)coarsest\.", r"\1G_linear."),
    (r"(^|\.)blocks\.", r"\1GBlock."),
    (r"(^|\.)norm\.", r"\1ScaledCrossReplicaBN."),
    (r"\.norm0\.", ".HyperBN."),
    (r"\.norm1\.", ".HyperBN_1."),
    (r"\.shortcut\.", ".conv_sc."),
    (r"\.(gamma|beta)\.", r".\1_embed."),
    (r"attention\.out\.", "attention.o_conv."),
    (r"\.parametrizations\.weight\.original$", ".module.weight_bar"),
    (r"\.parametrizations\.weight\.0\._(u|v)$", r".module.weight_\1"),
    (r"(G_linear|conv0|conv1|conv_sc|colorize)\.bias$", r"\1.module.bias"),
)


class Convolution(nn.Conv2d):
    """A convolution that keeps the grid, and keeps its normalised weight while it is frozen."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self._kept = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """Transform feature maps (B, in_channels, H, W)."""
        weight = self._kept(self, lambda: self.weight.contiguous(memory_format=torch.channels_last))
        return self._conv_forward(x, weight, self.bias)


class DoublingConvolution(Convolution):
    """A 3×3 convolution of the grid doubled by nearest neighbours, (B, C, H, W) -> (B, out_channels, 2 H, 2 W).

    While it is frozen, it is computed as the transposed convolution that equals it, with 16 products for each position
    of the coarse grid in place of 36.

    >>> layer, x = DoublingConvolution(2, 3, 3).eval().requires_grad_(False), torch.randn(1, 2, 4, 4)
    >>> expected = functional.conv2d(_upsampled(x), layer.weight, layer.bias, padding=1)
    >>> torch.allclose(layer(x), expected, atol=1e-5)
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Transform feature maps (B, in_channels, H, W)."""
        if not is_frozen(self):  # the kernel costs more than it saves if it is used once
            return self._conv_forward(_upsampled(x), self.weight, self.bias)
        return functional.conv_transpose2d(x, self._kept(self, self._kernel), self.bias, stride=2, padding=1)

    def _kernel(self) -> Tensor:
        """For each fine position that a coarse one reaches, the sum of its weights, (in, out, 4, 4)."""
        mirrored = self.weight.transpose(0, 1).flip(2, 3)
        sums = functional.avg_pool2d(mirrored, 2, stride=1, padding=1, divisor_override=1)
        return sums.contiguous(memory_format=torch.channels_last)


class ConditionalNorm(nn.Module):
    """Batch normalisation whose scale and shift are linear in a condition: (1 + γ(c)) · (x − mean)/std + β(c)."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=EPS, affine=False)
        self.gamma = spectral_norm(nn.Linear(condition_dim, channels, bias=False))
        self.beta = spectral_norm(nn.Linear(condition_dim, channels, bias=False))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise x (B, C, H, W), given (B, condition_dim)."""
        gamma, beta = (linear(condition)[:, :, None, None] for linear in (self.gamma, self.beta))
        if self.training:
            return (1 + gamma) * self.bn(x) + beta
        scale = (1 + gamma) * (self._column(self.bn.running_var) + EPS).rsqrt()
        return torch.addcmul(beta - self._column(self.bn.running_mean) * scale, x, scale)

    @staticmethod
    def _column(values: Tensor | None) -> Tensor:
        return cast(Tensor, values)[:, None, None]


class GeneratorBlock(nn.Module):
    """Residual block that doubles the grid: (B, in_channels, H, W) -> (B, out_channels, 2 H, 2 W)."""

    def __init__(self, in_channels: int, out_channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm0 = ConditionalNorm(in_channels, condition_dim)
        self.conv0 = spectral_norm(DoublingConvolution(in_channels, out_channels, 3))
        self.norm1 = ConditionalNorm(out_channels, condition_dim)
        self.conv1 = spectral_norm(Convolution(out_channels, out_channels, 3))
        self.shortcut = spectral_norm(Convolution(in_channels, out_channels, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Transform feature maps, given (B, condition_dim)."""
        residual = self.conv0(self.norm0(x, condition).relu_())
        residual = self.conv1(self.norm1(residual, condition).relu_())
        return residual + _upsampled(self.shortcut(x))


class SelfAttention(nn.Module):
    """x + γ · attention(x): each position reads from a grid of half the side (Zhang et al. 2019, SAGAN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = _projection(channels, channels // 8)
        self.phi = _projection(channels, channels // 8)
        self.g = _projection(channels, channels // 2)
        self.out = _projection(channels // 2, channels)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Transform feature maps (B, C, H, W)."""
        query = self.theta(x).flatten(2).mT
        key = functional.max_pool2d(self.phi(x), 2).flatten(2).mT
        value = functional.max_pool2d(self.g(x), 2).flatten(2).mT
        missing = value.shape[2] - key.shape[2]  # the fused kernel wants equal widths; zeros change no product
        query, key = functional.pad(query, (0, missing)), functional.pad(key, (0, missing))
        read = functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=1.0)
        return x + self.gamma * self.out(read[:, 0].mT.unflatten(2, x.shape[2:]))


class BigGAN(nn.Module):
    """Generator of photographs from a latent z and a class embedding (BigGAN).

    The first part of z becomes the coarsest grid, 4 × 4; each block doubles the grid and normalises by a further part
    of z together with the class embedding. Every weight is divided by its largest singular value; the estimates of
    it are updated in training mode only.

    Args:
        size: side of the images, 128 or 256.
        z_dim: values of a latent, at least 20 for each of the 5 or 6 blocks and one for the grid; by default 120 or
            140, as published.
        norm: before the last convolution, "bn" (BatchNorm, as published) or "an" (ActNorm).
        n_classes, class_dim: number of classes, and values of their embeddings.
        width: channels at the finest grid, a multiple of 4.

    Raises:
        InvalidInput: arguments out of range; latents or class embeddings of another shape.

    Source: Brock, Donahue and Simonyan 2019, Large scale GAN training for high fidelity natural image synthesis,
    appendix B.

    >>> generator = BigGAN(size=128, width=4).eval()
    >>> generator(torch.randn(2, 120), generator.embed(torch.tensor([3, 5]))).shape
    torch.Size([2, 3, 128, 128])
    """

    def __init__(
        self,
        size: Literal[128, 256] = 256,
        z_dim: int | None = None,
        norm: Literal["bn", "an"] = "bn",
        n_classes: int = 1000,
        class_dim: int = 128,
        width: int = 96,
    ) -> None:
        super().__init__()
        if size not in WIDTHS or norm not in ("bn", "an") or width % 4:
            raise InvalidInput(
                f"BigGAN has size {size}, norm {norm!r} and width {width}; expected size 128 or 256, norm bn or an, "
                "and a multiple of 4"
            )
        ends = list(pairwise(factor * width for factor in WIDTHS[size]))
        z_dim = z_dim or PART * (len(ends) + 1)
        require_at_least(z_dim=(z_dim, PART * len(ends) + 1), width=(width, 4))
        self.size, self.z_dim, self.class_dim = size, z_dim, class_dim
        self.parts = [z_dim - PART * len(ends)] + [PART] * len(ends)
        self.class_embedding = nn.Linear(n_classes, class_dim, bias=False)
        self.coarsest = spectral_norm(nn.Linear(self.parts[0], GRID**2 * ends[0][0]))
        self.blocks = nn.ModuleList(GeneratorBlock(*pair, PART + class_dim) for pair in ends)
        self.attention = SelfAttention(ends[-1][0])
        self.norm = nn.BatchNorm2d(width, eps=EPS) if norm == "bn" else NORMS[norm](width)
        self.colorize = spectral_norm(nn.Conv2d(width, 3, 3, padding=1))
        register_actnorms(self)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, for which `AutoencoderLoss` compares gradients."""
        return self.colorize.parametrizations.weight.original  # type: ignore[union-attr, return-value]

    def embed(self, classes: Int64[Tensor, " batch"]) -> Float[Tensor, "batch class_dim"]:
        """Embed classes given by their index."""
        return self.class_embedding.weight[:, classes].mT

    def forward(
        self, z: Float[Tensor, "batch z_dim *_"], class_embedding: Float[Tensor, "batch class_dim *_"]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Generate images in [-1, 1]; z ~ N(0, 1), perhaps truncated."""
        first, *parts = self._vectors(z, self.z_dim, "z").split(self.parts, dim=1)
        embedding = self._vectors(class_embedding, self.class_dim, "class_embedding")
        x = self.coarsest(first).unflatten(1, (GRID, GRID, -1)).movedim(-1, 1)
        with restored_on_failure(self):
            for i, (block, part) in enumerate(zip(self.blocks, parts, strict=True), start=1):
                x = self.attention(x) if i == len(parts) else x
                x = block(x, torch.cat([part, embedding], dim=1))
            return torch.tanh(self.colorize(self.norm(x).relu()))

    def load_released(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of a released generator, strictly.

        Raises:
            InvalidInput: names are missing, unknown or of another shape.
        """
        load_released(self, with_singular_vectors(state_dict), RELEASED)

    @staticmethod
    def _vectors(x: Tensor, channels: int, name: str) -> Tensor:
        """Vectors (B, C) or (B, C, 1, 1) as (B, C)."""
        if x.ndim < 2 or x.shape[1] != channels or x.shape[2:].numel() != 1:
            raise InvalidInput(f"{name} has shape {tuple(x.shape)}; expected (B, {channels}) or (B, {channels}, 1, 1)")
        return x.flatten(1)


def with_singular_vectors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released weights with the singular vectors that their spectral norms use in evaluation mode.

    The released networks make one step of the power iteration from the stored `weight_u` in each forward pass, and
    never store its result; their `weight_v` are not used and have a wrong size.
    """
    found = dict(weights)
    for name in [name for name in weights if name.endswith(".weight_bar")]:
        stem, matrix = name.removesuffix("bar"), weights[name].flatten(1)
        if f"{stem}u" in weights and weights[f"{stem}u"].shape == matrix.shape[:1]:
            found[f"{stem}v"] = _normalized(matrix.mT @ weights[f"{stem}u"])
            found[f"{stem}u"] = _normalized(matrix @ found[f"{stem}v"])
    return found


def _normalized(vector: Tensor) -> Tensor:
    return vector / (vector.norm() + EPS)


def _projection(in_channels: int, out_channels: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(in_channels, out_channels, 1, bias=False))


def _upsampled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2)
