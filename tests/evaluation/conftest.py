"""A file of Inception's weights that has the true format, and a place where torch looks for it."""

import pytest
import torch
from torch import nn

from invariances.evaluation.metrics.fid.inception import FILES, inception_trunk


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file of random weights in the format of the published one, of a scale that features survive."""
    generator = torch.Generator().manual_seed(0)
    trunk = inception_trunk()
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    head = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    path = tmp_path_factory.mktemp("weights") / FILES[0]
    torch.save(trunk.state_dict() | head, path)
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder of torch's checkpoints."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"
