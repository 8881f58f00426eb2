"""Vision transformers whose features follow what people see more closely than Inception's: DINOv2 and CLIP.

Weights are read without running code from their files: CLIP's, a TorchScript archive, only if its SHA-256 is that of
the published file; others by `torch.load(weights_only=True)`.
"""

import hashlib
import logging
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from invariances.evaluation.metrics.fid.extractors import Extractor, resize
from invariances.evaluation.metrics.fid.inception import WeightsMissing
from invariances.utils.download import download, verified

log = logging.getLogger(__name__)

CLIP_SHA256 = "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"
CLIP_URL = f"https://openaipublic.azureedge.net/clip/models/{CLIP_SHA256}/ViT-L-14-336px.pt"
CLIP_FILE = f"clip-vit-l-14-336px-{CLIP_SHA256}.pt"  # as torch-fidelity names it
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DINOV2_URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
DINOV2_FILE, DINOV2_SIZE, DINOV2_OFFSET = "dinov2_vitl14_pretrain.pth", 224, 0.1
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD_WIDTH = 64  # of both networks' attention
ANY = "sha256:"  # the authors publish no checksum of DINOv2's file

State = Mapping[str, Tensor]
UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, AttributeError, ImportError, pickle.UnpicklingError)


class EmbeddingExtractor(Extractor):
    """A network on RGB pictures of one size, resized with antialiasing and standardised as in its training.

    Args:
        name: of the network.
        network: (B, 3, size, size) -> (B, D).
        size: side in pixels.
        mean, std: of each channel of pixels in [0, 1].
        distances: see `Extractor`.
        unit: scale features to length 1.

    Example:
        >>> pixels = torch.full((5, 1, 9, 9), 255, dtype=torch.uint8)
        >>> extractor = EmbeddingExtractor("pixels", nn.Flatten(), 2, (0.5,) * 3, (0.25,) * 3, ("fd",))
        >>> extractor(pixels).shape, extractor(pixels).mean()
        (torch.Size([5, 12]), tensor(2.))
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        distances: tuple[str, ...],
        unit: bool = False,
    ) -> None:
        super().__init__(name, f"bytes, clean resize to {size}, mean {mean}, std {std}", network)
        self.size, self.distances, self.unit = size, distances, unit
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def forward(
        self, pixels: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features of a batch."""
        rgb = resize(pixels.to(self.device).expand(-1, 3, -1, -1), self.size, "clean") / 255
        features = self.network((rgb - self.mean.to(rgb)) / self.std.to(rgb))
        return normalize(features) if self.unit else features


def clip(weights: str | Path | None = None) -> EmbeddingExtractor:
    """CLIP's ViT-L/14 on pictures of 336 × 336: 768 features of length 1, compared by `cmmd`.

    The blocks are torch-fidelity's. Source: Jayasumana et al. 2024, Rethinking FID, section 4.

    Args:
        weights: the published file, or one of `torch.save` with its entries `visual.…`; by default the published one
            in torch's folder of checkpoints, which is downloaded (890 MB) and verified if it is not there.

    Raises:
        WeightsMissing: no file and a failed download, or a file that cannot be read.
    """
    path = Path(weights) if weights else _published("clip", CLIP_FILE, CLIP_URL, f"sha256:{CLIP_SHA256}")
    network = _read(path, "CLIP", clip_network)
    size = cast(int, network.input_resolution)
    return EmbeddingExtractor("clip", network, size, CLIP_MEAN, CLIP_STD, ("cmmd",), unit=True)


def clip_network(state: State) -> nn.Module:
    """CLIP's vision transformer of the sizes that its weights have, in float32; `state` holds `visual.…`."""
    from torch_fidelity.feature_extractor_clip import VisionTransformer

    visual = {name.removeprefix("visual."): w.float() for name, w in state.items() if name.startswith("visual.")}
    (width, _, patch, _), (_, n_features) = visual["conv1.weight"].shape, visual["proj"].shape
    side = round((len(visual["positional_embedding"]) - 1) ** 0.5)
    n_layers = sum(name.endswith(".attn.in_proj_weight") for name in visual)
    network = VisionTransformer(side * patch, patch, width, n_layers, width // HEAD_WIDTH, n_features)
    network.load_state_dict(visual)
    return network


def dinov2(weights: str | Path | None = None) -> EmbeddingExtractor:
    """DINOv2's ViT-L/14 on pictures of 224 × 224: 1,024 features, the class token's, compared by Fréchet distance.

    The blocks are timm's. Source: Stein et al. 2023, Exposing flaws of generative model evaluation metrics.

    Args:
        weights: a file in the published format; by default the published one in torch's folder of checkpoints, which
            is downloaded (1.2 GB) if it is not there. Its SHA-256 is logged, since none is published.

    Raises:
        WeightsMissing: no file and a failed download, a file that cannot be read, or timm is not installed.
    """
    path = Path(weights) if weights else _published("dinov2", DINOV2_FILE, DINOV2_URL, ANY)
    network = _read(path, "DINOv2", dinov2_network)
    return EmbeddingExtractor("dinov2", network, DINOV2_SIZE, IMAGENET_MEAN, IMAGENET_STD, ("fd",))


def dinov2_network(state: State) -> nn.Module:
    """DINOv2's vision transformer of the sizes that its weights have, for pictures of 224 × 224."""
    try:
        from timm.models.vision_transformer import VisionTransformer
    except ImportError as error:
        raise WeightsMissing("features dinov2 needs timm; install invariances[timm]") from error
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    network: nn.Module = VisionTransformer(
        img_size=DINOV2_SIZE,
        patch_size=patch,
        embed_dim=width,
        depth=sum(name.endswith(".attn.qkv.weight") for name in state),
        num_heads=width // HEAD_WIDTH,
        init_values=1.0,  # has layer scales; their values are loaded
        num_classes=0,
    )
    positions = resized_positions(state["pos_embed"], DINOV2_SIZE // patch)
    used = {name: weight for name, weight in state.items() if name != "mask_token"}
    network.load_state_dict(used | {"pos_embed": positions})
    return network


def resized_positions(
    positions: Float[Tensor, "1 n_positions width"], side: int
) -> Float[Tensor, "1 n_resized width"]:
    """Position embeddings (1, 1 + s², W) for side × side patches, (1, 1 + side², W); the first is the class token's.

    As DINOv2's own code: bicubic, with 0.1 added to the side. Oquab et al. 2023, `interpolate_pos_encoding`.

    >>> resized_positions(torch.ones(1, 1 + 37**2, 4), 16).shape
    torch.Size([1, 257, 4])
    """
    token, patches = positions[:, :1], positions[:, 1:]
    old = round(patches.shape[1] ** 0.5)
    if old == side:
        return positions
    grid = patches.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    resized = interpolate(grid, scale_factor=(side + DINOV2_OFFSET) / old, mode="bicubic")
    return torch.cat([token, resized.flatten(2).mT], dim=1)


def _published(name: str, file: str, url: str, checksum: str) -> Path:
    """The published file in torch's folder of checkpoints, downloaded if it is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    present = path.is_file()
    try:
        download(path, [url], checksum)
    except (OSError, ValueError) as error:
        raise WeightsMissing(f"the weights of {name} are not there: {error}, or set fid/features to random") from error
    if checksum == ANY and not present:
        log.info("downloaded %s; its SHA-256 is %s", path, _sha256(path))
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read(path: Path, name: str, build: Callable[[State], nn.Module]) -> nn.Module:
    try:
        return build(_state(path))
    except UNREADABLE as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsMissing(f"{path}: cannot be read as weights of {name} ({line})") from error


def _state(path: Path) -> State:
    """The weights in a file; an archive of TorchScript, which can hold code, only if it is CLIP's published one."""
    if path.suffix == ".pt" and verified(path, f"sha256:{CLIP_SHA256}"):
        archive: nn.Module = torch.jit.load(path, map_location="cpu")
        return archive.state_dict()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
