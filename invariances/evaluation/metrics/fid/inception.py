"""The Inception network of published FIDs, and its weights."""

import pickle
import warnings
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from invariances.errors import UserError
from invariances.evaluation.metrics.fid.extractors import Mode, PictureExtractor
from invariances.utils.checkpoints import unreadable
from invariances.utils.download import download, verified

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
CHECKSUM = "sha256:6726825d"  # its first digits
FILES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")


class WeightsMissing(UserError):
    """The weights are not in the cache and could not be downloaded, or cannot be read."""


def inception(mode: Mode = "legacy", weights: str | Path | None = None) -> PictureExtractor:
    """The Inception network of published FIDs: 2,048 features of pictures resized to 299 × 299.

    The blocks are torch-fidelity's, the weights those of TensorFlow's 2015 Inception as converted for
    pytorch-fid. Pixels are bytes (B, 1 or 3, H, W); features (B, 2048).

    Args:
        mode: see `resize`.
        weights: a file in that format; by default the published one in torch's folder of checkpoints, which is
            downloaded (91 MB) and verified if it is not there.

    Raises:
        WeightsMissing: no file and a failed download, or a file that cannot be read.
    """
    path = Path(weights) if weights else published_inception()
    trunk = inception_trunk()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        trunk.load_state_dict({name: w for name, w in state.items() if not name.startswith("fc.")})
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, AttributeError) as error:
        raise WeightsMissing(f"{path}: cannot be read as weights of Inception ({_reason(error)})") from error
    trunk = trunk.to(memory_format=torch.channels_last)  # a third faster, on CPUs too
    return PictureExtractor("inception", trunk, 299, mode)


def inception_trunk() -> nn.Sequential:
    """Inception up to its average pool, (B, 3, 299, 299) -> (B, 2048), with random weights."""
    from torch_fidelity import feature_extractor_inceptionv3 as blocks

    return nn.Sequential(
        OrderedDict(
            Conv2d_1a_3x3=blocks.BasicConv2d(3, 32, kernel_size=3, stride=2),
            Conv2d_2a_3x3=blocks.BasicConv2d(32, 32, kernel_size=3),
            Conv2d_2b_3x3=blocks.BasicConv2d(32, 64, kernel_size=3, padding=1),
            MaxPool_1=nn.MaxPool2d(kernel_size=3, stride=2),
            Conv2d_3b_1x1=blocks.BasicConv2d(64, 80, kernel_size=1),
            Conv2d_4a_3x3=blocks.BasicConv2d(80, 192, kernel_size=3),
            MaxPool_2=nn.MaxPool2d(kernel_size=3, stride=2),
            Mixed_5b=blocks.InceptionA(192, pool_features=32),
            Mixed_5c=blocks.InceptionA(256, pool_features=64),
            Mixed_5d=blocks.InceptionA(288, pool_features=64),
            Mixed_6a=blocks.InceptionB(288),
            Mixed_6b=blocks.InceptionC(768, channels_7x7=128),
            Mixed_6c=blocks.InceptionC(768, channels_7x7=160),
            Mixed_6d=blocks.InceptionC(768, channels_7x7=160),
            Mixed_6e=blocks.InceptionC(768, channels_7x7=192),
            Mixed_7a=blocks.InceptionD(768),
            Mixed_7b=blocks.InceptionE_1(1280),
            Mixed_7c=blocks.InceptionE_2(2048),
            AvgPool=nn.AdaptiveAvgPool2d(1),
            Flatten=nn.Flatten(),
        )
    )


def published_inception() -> Path:
    """The published weights in torch's folder of checkpoints, as pytorch-fid or torch-fidelity left them.

    Raises:
        WeightsMissing: they are not there and cannot be fetched.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for path in (folder / name for name in FILES):
        if path.is_file():
            if not verified(path, CHECKSUM):
                warnings.warn(
                    f"{path}: not the published weights, so scores compare with no others", stacklevel=2
                )
            return path
    try:
        return download(folder / FILES[0], [URL], CHECKSUM)
    except (OSError, ValueError) as error:
        raise WeightsMissing(
            f"Inception's weights are not there: {_line(error)}, or set fid/features to random or to a network and a "
            "layer"
        ) from error


def _reason(error: Exception) -> str:
    return unreadable(error) if isinstance(error, pickle.UnpicklingError) else _line(error)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
