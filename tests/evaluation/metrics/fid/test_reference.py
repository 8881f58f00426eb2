import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from invariances.data import DigitsTrain
from invariances.data.loader import First, Loader
from invariances.errors import UserError
from invariances.evaluation.metrics.fid.extractors import LayerExtractor, random_network
from invariances.evaluation.metrics.fid.reference import measure, reference
from invariances.models import Greybox
from invariances.models.studied.preprocess import Preprocess


class Images(list):
    """A data set of dicts."""

    def __init__(self, n, size=16, seed=0):
        generator = torch.Generator().manual_seed(seed)
        super().__init__({"image": torch.rand(3, size, size, generator=generator) * 2 - 1} for _ in range(n))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "cache" / "fid"


def loader(n=20, **arguments):
    return DataLoader(Images(n, **arguments), batch_size=8)


def files(folder):
    return sorted(folder.glob("*.npz"))


@pytest.fixture
def counted():
    """The random network, which counts the images it sees."""
    extractor, seen = random_network(), []
    extractor.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    return extractor, seen


def test_measured_once_then_read(counted, cache):
    extractor, seen = counted
    first = reference(loader(), extractor)
    assert sum(seen) == 20
    second = reference(loader(), extractor, batch_size=3)
    assert sum(seen) == 20
    assert first.statistics.distance(second.statistics) == pytest.approx(0, abs=1e-6)
    assert torch.equal(first.features, second.features)
    direct = measure([batch["image"] for batch in loader()], extractor)
    torch.testing.assert_close(second.statistics.cov, direct.statistics.cov)
    assert len(files(cache)) == 1


def test_each_key_has_its_file(cache):
    one, other = random_network(), random_network("clean")
    for arguments in ({}, {"n": 19}, {"size": 8}, {"seed": 1}):
        reference(loader(**arguments), one)
    reference(loader(), other)
    reference(loader(), one, keep=False)
    assert len(files(cache)) == 6


def test_C12_each_preprocessing_has_its_file(cache):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 2)).eval()
    boxes = [Greybox(network, "0", preprocess=Preprocess(16, std=(std,) * 3)) for std in (0.5, 0.2)]
    first, second = (reference(loader(), LayerExtractor("a", box)).statistics.mean for box in boxes)
    assert len(files(cache)) == 2 and not torch.allclose(first, second)


def test_any_picture_that_changes_is_noticed(tmp_path, cache):
    extractor, path = random_network(), tmp_path / "forty.npz"
    images = Images(40)
    reference(DataLoader(images, batch_size=8), extractor, path)
    for changed in range(1, 5):
        before, images[changed] = images[changed], {"image": -images[changed]["image"]}
        with pytest.raises(UserError, match=r"forty\.npz.*\(pictures is '\w+', expected '\w+'\)"):
            reference(DataLoader(images, batch_size=8), extractor, path)
        images[changed] = before
    reference(DataLoader(images, batch_size=8), extractor, path)


def test_order_and_batches_make_no_other_set(cache):
    extractor = random_network()
    reference(loader(), extractor)
    reference(DataLoader(Images(20), batch_size=3), extractor)
    reference(DataLoader(Images(20), batch_size=8, shuffle=True), extractor)
    assert len(files(cache)) == 1


def test_a_training_set_held_still_by_its_loader_stays_the_same(counted, cache):
    extractor, seen = counted
    held = Loader(First(DigitsTrain(), 20), batch_size=8)
    reference(held, extractor)
    list(held)  # a validation pass, the next epoch
    reference(held, extractor, batch_size=7)
    assert (sum(seen), len(files(cache))) == (20, 1)


def test_the_file_says_what_it_is_of(tmp_path):
    path = tmp_path / "stats" / "digits.npz"
    reference(loader(), random_network(), path)
    with np.load(path, allow_pickle=False) as file:
        key = json.loads(str(file["key"]))
    assert key | {"dataset": "Images", "count": 20, "size": [3, 16, 16]} == key
    assert key["extractor"].startswith("random-")


def test_another_set_is_refused_with_both_values(tmp_path):
    path = tmp_path / "digits.npz"
    reference(loader(), random_network(), path)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"digits\.npz.*count is 20, expected 21.*delete this file") as failure:
        reference(loader(21), random_network("clean"), path)
    assert "extractor is 'random-" in str(failure.value)
    assert "expected 'clean_random-" in str(failure.value)
    assert path.read_bytes() == before


def test_without_features_where_none_are_wanted(tmp_path):
    path = tmp_path / "moments.npz"
    assert reference(loader(), random_network(), path, keep=False).features.shape == (0, 512)
    with pytest.raises(UserError, match="features is False, expected True"):
        reference(loader(), random_network(), path)


@pytest.mark.parametrize("arrays", [None, {"mu": np.zeros(3), "scale": np.eye(3)}])
def test_files_of_other_kinds_are_refused(tmp_path, arrays):
    path = tmp_path / "other.npz"
    path.write_bytes(b"PK no file") if arrays is None else np.savez(path, **arrays)
    expected = "" if arrays is None else "it holds mu, scale but not cov, features, key, mean, n"
    with pytest.raises(UserError, match=rf"other.npz: cannot be read as reference statistics \({expected}"):
        reference(loader(), random_network(), path)


def test_published_statistics_are_taken_with_a_warning(tmp_path):
    path, generator = tmp_path / "cifar.npz", np.random.default_rng(0)
    rows = generator.normal(3, 2, (900, 4))
    np.savez(path, mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    with pytest.warns(UserWarning, match="cifar.npz holds mu and sigma alone: nothing in it says which") as caught:
        found = reference(loader(), random_network(), path)
    assert len(caught) == 1 and found.released and len(found.features) == 0
    np.testing.assert_allclose(found.statistics.mean, rows.mean(0))
    np.testing.assert_allclose(found.statistics.cov, np.cov(rows, rowvar=False))


def test_published_statistics_that_are_none_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", mu=np.zeros(3), sigma=np.zeros((3, 2)))
    with pytest.raises(UserError, match=r"a.npz: cannot be read as reference statistics \(cov has shape \(3, 2\)"):
        reference(loader(), random_network(), tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"key": "no JSON"}, "Expecting value"),
        ({"key": "[1, 2]"}, "its key is a list; expected a mapping"),
        ({"n": 0}, "n is 0; expected 20"),
        ({"mean": np.full(512, np.nan)}, "mean holds values that are no finite numbers"),
        ({"mean": np.full(512, "a")}, "mean holds values that are no finite numbers"),
        ({"mean": np.zeros(5)}, r"cov has shape \(512, 512\); expected \(5, 5\)"),
        ({"mean": np.zeros((2, 256))}, r"mean has shape \(2, 256\); expected \(512,\)"),
        ({"cov": np.triu(np.ones((512, 512)))}, "cov is not symmetric"),
        ({"features": np.zeros((5, 512), np.float32)}, r"features has shape \(5, 512\); expected \(20, 512\)"),
    ],
)
def test_arrays_that_are_not_what_they_say_are_refused(tmp_path, change, expected):
    path = tmp_path / "stats.npz"
    reference(loader(), random_network(), path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {name: np.array(value) for name, value in change.items()}))
    with pytest.raises(UserError, match=rf"stats.npz: cannot be read .*\({expected}.*delete this file"):
        reference(loader(), random_network(), path)


def test_a_single_array_and_a_file_that_is_cut_are_refused(tmp_path):
    single, cut = tmp_path / "single.npy", tmp_path / "cut.npz"
    np.save(single, np.zeros(3))
    with pytest.raises(UserError, match=r"single.npy: .*\(it is a single array; expected .*delete this file"):
        reference(loader(), random_network(), single)
    reference(loader(), random_network(), cut)
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cut.npz: cannot be read .*delete this file"):
        reference(loader(), random_network(), cut)


@pytest.mark.filterwarnings("ignore:.*pixels are NaN")
def test_a_failure_leaves_no_file(cache):
    broken = Images(20)
    broken[13]["image"][0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 of 20 images hold NaN"):
        reference(DataLoader(broken, batch_size=8), random_network())
    assert not files(cache)


def test_batches_without_images_are_named():
    examples = Images(20)
    batches = DataLoader(examples, batch_size=8, collate_fn=lambda examples: {"picture": torch.zeros(8)})
    with pytest.raises(ValueError, match="batches hold picture; expected image"):
        reference(batches, random_network())


def test_both_images_of_a_pair_count(cache):
    images = [item["image"] for item in Images(20)]
    pairs = [{"example1": a, "example2": b} for a, b in zip(images[::2], images[1::2], strict=True)]
    found = reference(DataLoader(pairs, batch_size=3), random_network())
    assert found.statistics.n == 20
    assert found.statistics.distance(reference(loader(20), random_network()).statistics) == pytest.approx(0, abs=1e-6)


def test_a_part_of_a_data_set_is_named_after_both(cache):
    reference(DataLoader(torch.utils.data.Subset(Images(20), range(10)), batch_size=8), random_network())
    with np.load(files(cache)[0]) as file:
        assert json.loads(str(file["key"]))["dataset"] == "Subset(Images)"


def test_batches_of_nothing():
    with pytest.raises(ValueError, match="batch_size is 0; expected 1 or more"):
        measure([torch.zeros(4, 1, 2, 2)], random_network(), batch_size=0)


def test_features_that_are_not_finite_are_counted():
    broken = nn.Identity()
    broken.encode = lambda x: x.flatten(1) / 0
    with pytest.raises(ValueError, match="4 of 4 feature vectors"):
        measure([torch.rand(4, 1, 2, 2) * 2 - 1], LayerExtractor("broken", broken))
