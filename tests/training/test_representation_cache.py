import shutil

import numpy as np
import pytest
import torch
from torch import nn

from invariances.data.base import ImageSet
from invariances.data.loader import Loader
from invariances.errors import InvalidInput
from invariances.flows import FactorTransformer, VectorTransformer
from invariances.iterators import DIINIterator, IINIterator
from invariances.training.representation_cache import CacheSettings, encoded, with_cache

N = 10
CPU = torch.device("cpu")


class Double(nn.Module):
    """A network that counts the images that it sees, and may be interrupted."""

    z_dim = 3

    def __init__(self, factor=2.0, stop_after=1000):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.seen, self.stop_after = 0, stop_after

    def encode(self, images):
        if self.seen >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += len(images)
        return self.factor * images


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))


def loader(seed=None, first=0, batch_size=4):
    images = np.arange(first, first + N * 12, dtype=np.uint8).reshape(N, 3, 2, 2)
    return Loader(ImageSet(images, {}, seed), batch_size=batch_size, shuffle=True)


def outputs(network, data, **settings):
    encoders = {"network": lambda images: {"z": network.encode(images)}}
    return encoded(data, encoders, {"network": network}, CacheSettings(**settings), {}, CPU)["z"]


def test_rows_are_the_networks_outputs_and_are_computed_once():
    network, data = Double(), loader()
    expected = 2 * torch.stack([data.dataset[i]["image"] for i in range(N)]).numpy()
    assert np.array_equal(outputs(network, data), expected)
    seen = network.seen
    assert np.array_equal(outputs(network, data), expected)
    assert network.seen == seen


@pytest.mark.parametrize(
    "change",
    [
        lambda: outputs(Double(3.0), loader()) / 3,
        lambda: outputs(Double(), loader(first=7)) / 2,
        lambda: outputs(Double(), loader(seed=1)) / 2,
    ],
    ids=["weights", "images", "noise"],
)
def test_other_networks_and_other_images_have_folders_of_their_own(change, tmp_path):
    outputs(Double(), loader())
    change()
    assert len(list(tmp_path.rglob("index.json"))) == 2


def test_each_epoch_that_is_kept_has_its_own_noise():
    data = loader(seed=0)
    rows = outputs(Double(), data, epochs=2).reshape(2, N, 3, 2, 2)
    for epoch in range(2):
        data.dataset.set_epoch(epoch)
        assert np.array_equal(rows[epoch], 2 * torch.stack([data.dataset[i]["image"] for i in range(N)]).numpy())
    assert not np.array_equal(rows[0], rows[1])


def test_an_interrupted_build_continues_where_it_stopped():
    with pytest.raises(KeyboardInterrupt):
        outputs(Double(stop_after=5), loader())  # one image for the shapes, and a batch
    network = Double()
    found = outputs(network, loader())
    assert network.seen == 1 + N - 4
    assert np.array_equal(found, 2 * torch.stack([loader().dataset[i]["image"] for i in range(N)]).numpy())


def test_several_networks_are_filled_in_one_pass():
    class Counting(ImageSet):
        made = 0

        def make(self, index, streams):
            Counting.made += len(index)
            return super().make(index, streams)

    data = Loader(Counting(np.zeros((N, 1, 2, 2), dtype=np.uint8), {}, None), batch_size=5)
    a, b = Double(2.0), Double(5.0)
    encoders = {"a": lambda x: {"z": a.encode(x)}, "b": lambda x: {"mean": b.encode(x)}}
    found = encoded(data, encoders, {"a": a, "b": b}, CacheSettings(), {}, CPU)
    assert np.allclose(found["mean"], 2.5 * found["z"])
    assert Counting.made <= 2 * N + 5  # the key, the shapes, and one pass


def test_half_precision_keeps_three_digits_and_refuses_what_it_cannot_hold():
    full, half = outputs(Double(), loader()), outputs(Double(), loader(), precision="float16")
    assert np.abs(half - full).max() <= 2**-11 * np.abs(full).max()
    with pytest.raises(InvalidInput, match=r"z has values of up to .*use --cache/precision float32"):
        outputs(Double(1e6), loader(), precision="float16")


def test_a_disk_that_is_too_small(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(InvalidInput, match=r"needs 0.0 GB more, but its disk has 0.0 GB free"):
        outputs(Double(), loader())


def task():
    flow = VectorTransformer(in_channel=3, n_flow=1, hidden_depth=1, hidden_dim=4)
    return IINIterator(flow, Double(), learning_rate=1e-3)


@pytest.mark.parametrize(("seed", "asked", "kept"), [(None, None, True), (0, None, False), (0, True, True)])
def test_kept_by_default_only_if_every_epoch_has_the_same_images(seed, asked, kept):
    found = with_cache(loader(seed), task(), CacheSettings(asked), {}, CPU)
    assert next(iter(found)).keys() == ({"encoded"} if kept else {"image"})


def test_batches_come_in_the_order_of_the_loader_without_a_cache():
    plain, kept = loader(), with_cache(loader(), task(), CacheSettings(), {}, CPU)
    for _ in range(2):
        for batch, outputs_of in zip(plain, kept, strict=True):
            assert torch.equal(2 * batch["image"], outputs_of["encoded"]["mean"])


def test_a_task_without_frozen_networks_that_see_images_alone():
    flow = FactorTransformer(in_channel=3, n_factors=2, n_flow=1, hidden_depth=1, hidden_dim=4)
    pairs = DIINIterator(flow, Double(), learning_rate=1e-3)
    data = loader()
    assert with_cache(data, pairs, CacheSettings(), {}, CPU) is data
    with pytest.raises(InvalidInput, match="cache/representations: DIINIterator has no frozen networks"):
        with_cache(data, pairs, CacheSettings(True), {}, CPU)
