"""Small networks, pictures and studies that take seconds."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from invariances.studies import quality

NETS = '''
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x):
        return x + self.conv(x).relu()


class Net(nn.Module):
    def __init__(self, channels=3, n_classes=2):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU())
        self.stage = nn.Sequential(Block(4), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(8, n_classes)

    def forward(self, x):
        return self.fc(self.stage(self.stem(x)).mean((2, 3)))


class Flat(nn.Module):
    """Takes 28 pixels only."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(28 * 28, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Dictionary(Net):
    def forward(self, x):
        return {"logits": super().forward(x), "images": x}


class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 3, 3, 2, 1)

    def forward(self, x):
        return self.b(self.a(x).relu())


class Bright(nn.Module):
    """Right about bright and dark pictures, if its input has mean 0 where pixels are grey."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 1, 1, bias=False), nn.Linear(1, 2, bias=False)
        nn.init.constant_(self.conv.weight, 1)
        self.fc.weight = nn.Parameter(torch.tensor([[1.0], [-1.0]]))

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


class Bright28(Bright):
    """Wrong about pictures of any other size."""

    def forward(self, x):
        return super().forward(x) if x.shape[-1] == 28 else -super().forward(x)


class Squeezed(Bright):
    def forward(self, x):
        return self.conv(x).mean((1, 2, 3))


class Averaged(Net):
    def forward(self, x):
        return super().forward(x).mean(0, keepdim=True)


class NeedsWidth(Net):
    def __init__(self, width):
        super().__init__()


class Unmade(Net):
    def __init__(self):
        self.width = {}["width"]


class Crashing(Net):
    def forward(self, x):
        raise KeyError("my own bug")
'''
TINY = replace(
    quality.DRAFT, autoencoder_steps=40, flow_steps=30, width=4, mid_channels=8, n_flows=2, n_judged=12, batch_size=10
)


def save_pictures(folder: Path, n: int, size: int = 32, low: int = 0, high: int = 255) -> None:
    """Pictures of noise around a random brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(low)
    for number in range(n):
        level = random.integers(low, high)
        pixels = np.clip(level + random.normal(0, 10, (size, size, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder with networks, their weights and pictures of two classes; studies in it are tiny."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setitem(quality.LEVELS, "draft", TINY)
    monkeypatch.setattr("invariances.studies.planning.DRAFT", TINY)
    (tmp_path / "study_nets.py").write_text(NETS)
    monkeypatch.delitem(sys.modules, "study_nets", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    save_pictures(tmp_path / "pictures" / "bright", 40, low=150, high=240)
    save_pictures(tmp_path / "pictures" / "dark", 40, low=10, high=100)
    import study_nets

    torch.manual_seed(0)
    torch.save(study_nets.Net().state_dict(), tmp_path / "net.pt")
    torch.save(study_nets.Bright().state_dict(), tmp_path / "bright.pt")
    return tmp_path
