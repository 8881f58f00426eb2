"""The large autoencoder of photographs: a residual network as encoder, BigGAN as decoder."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal, cast

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.flows.layers.actnorm import register_actnorms, restored_on_failure
from invariances.flows.released import load_released
from invariances.models.blocks import NORMS
from invariances.models.checks import check_images
from invariances.models.distributions import DiagonalGaussian
from invariances.models.first_stages.generator import RELEASED, BigGAN, with_singular_vectors
from invariances.models.pretrained import load_network
from invariances.models.studied.preprocess import IMAGENET_MEAN, IMAGENET_STD

ResNet = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
NAMES = (
    (r"^encoder\.head\.", "encoder.model.fc.sub_layers.0."),
    (r"^encoder\.network\.", "encoder.model."),
    (r"^decoder\.to_classes\.(\d)\.", r"decoder.map_to_class_embedding.main.\1."),
    (r"^decoder\.generator\.", "decoder.decoder."),
    *RELEASED,
)


class ResidualEncoder(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] to vectors (B, out_channels, 1, 1): a ResNet with another last layer.

    Images are normalised twice with ImageNet's statistics, as in the released networks, whose weights expect it.

    Args:
        out_channels: channels of the vectors.
        type, norm, pretrained: see `BigAE`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, out_channels: int, type: ResNet, norm: Literal["an", "bn"], pretrained: bool) -> None:
        super().__init__()
        if pretrained:
            self.network = load_network(f"torchvision:{type}", "IMAGENET1K_V1").network
        else:
            self.network = torchvision.models.get_model(type, norm_layer=NORMS[norm])
        self.head = nn.Conv2d(cast(nn.Linear, self.network.fc).in_features, out_channels, 1)
        self.network.fc = nn.Identity()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images in [-1, 1]."""
        with restored_on_failure(self):
            return self.head(self.network(self._normalized(self._normalized(x)))[:, :, None, None])

    def _normalized(self, x: Tensor) -> Tensor:
        return ((x + 1) / 2 - self.mean) / self.std


class BigGANDecoder(nn.Module):
    """Codes (B, z_dim, 1, 1) to images (B, 3, size, size) in [-1, 1].

    A code is BigGAN's latent, and an MLP predicts from it the probabilities of the classes to embed.

    Args:
        size: side of the images.
        z_dim, norm, width: see `BigGAN`.
        n_classes: of the generator.
    """

    def __init__(
        self, size: Literal[128, 256], z_dim: int, norm: Literal["an", "bn"], width: int, n_classes: int = 1000
    ) -> None:
        super().__init__()
        widths = [z_dim, *[2 * n_classes] * 3]
        hidden = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.LeakyReLU(0.01))]
        self.to_classes = nn.Sequential(*hidden, nn.Linear(widths[-1], n_classes))
        self.generator = BigGAN(size, z_dim, norm, n_classes, width=width)

    def forward(self, code: Tensor) -> Tensor:
        """Decode codes, any real values."""
        probabilities = self.to_classes(code.flatten(1)).softmax(dim=1)
        return self.generator(code, self.generator.class_embedding(probabilities))


class BigAE(nn.Module):
    """Variational autoencoder of photographs: x -> N(mean, σ²) over codes z̄ -> x̂ (ECCV 2020).

    The encoder is a ResNet, the decoder BigGAN with class embeddings predicted from the code. In evaluation mode
    nothing in it changes.

    Args:
        in_size: images are (B, 3, in_size, in_size) in [-1, 1]; 128 or 256.
        z_dim: channels of the code, (B, z_dim, 1, 1).
        type: of the encoder, resnet18 to resnet152.
        norm: of the encoder, "an" (ActNorm) or "bn" (BatchNorm).
        use_actnorm_in_dec: ActNorm in place of BatchNorm before the decoder's last convolution.
        deterministic: codes without noise, see `DiagonalGaussian`.
        pretrained: start the encoder from torchvision's weights for ImageNet; these need norm "bn".
        width: channels of the decoder at the finest grid, a multiple of 4.

    Raises:
        InvalidInput: arguments out of range; images or codes of another size or number of channels.
        TypeError: images that are not floating point.
        UserError: pretrained weights that cannot be downloaded.

    Source: Rombach, Esser and Ommer 2020, Making sense of CNNs, appendix.

    Example:
        >>> autoencoder = BigAE(in_size=128, z_dim=101, type="resnet18", norm="bn", width=4)
        >>> posterior = autoencoder.encode(torch.rand(2, 3, 128, 128) * 2 - 1)
        >>> posterior.mode().shape, autoencoder.decode(posterior.mode()).shape
        (torch.Size([2, 101, 1, 1]), torch.Size([2, 3, 128, 128]))
    """

    def __init__(
        self,
        in_size: Literal[128, 256] = 128,
        z_dim: int = 128,
        type: ResNet = "resnet101",
        norm: Literal["an", "bn"] = "an",
        use_actnorm_in_dec: bool = False,
        deterministic: bool = False,
        pretrained: bool = False,
        width: int = 96,
    ) -> None:
        super().__init__()
        if norm not in ("an", "bn") or (pretrained and norm != "bn"):
            expected = "bn, since pretrained is true" if pretrained else "an or bn"
            raise InvalidInput(f"norm is {norm!r}; expected {expected}")
        self.in_size, self.z_dim, self.deterministic = in_size, z_dim, deterministic
        self.encoder = ResidualEncoder(2 * z_dim, type, norm, pretrained)
        self.decoder = BigGANDecoder(in_size, z_dim, "an" if use_actnorm_in_dec else "bn", width)
        register_actnorms(self)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution, for which `AutoencoderLoss` compares gradients."""
        return self.decoder.generator.last_layer

    def encode(self, x: Float[Tensor, "batch 3 height width"]) -> DiagonalGaussian:
        """Encode images in [-1, 1] to a distribution over codes (B, z_dim, 1, 1)."""
        check_images(x, 3, self.in_size)
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar, self.deterministic)

    def decode(self, code: Float[Tensor, "batch z_dim 1 1"]) -> Float[Tensor, "batch 3 height width"]:
        """Decode codes, any real values, to images in [-1, 1]."""
        if tuple(code.shape[1:]) != (self.z_dim, 1, 1):
            raise InvalidInput(f"codes have shape {tuple(code.shape)}; expected (B, {self.z_dim}, 1, 1)")
        return self.decoder(code)

    def forward(
        self, x: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch 3 height width"], DiagonalGaussian]:
        """Encode images in [-1, 1], decode one sampled code of each; returns the images and the distributions."""
        posterior = self.encode(x)
        return self.decode(posterior.sample()), posterior

    def load_released(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load the weights of a released autoencoder, strictly.

        Raises:
            InvalidInput: names are missing, unknown or of another shape.
        """
        load_released(self, with_singular_vectors(state_dict), NAMES)
