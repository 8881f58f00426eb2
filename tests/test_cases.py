"""Cases that users of comparable software ran into, each named after its number."""

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from invariances.cli.edflow import parse
from invariances.config.checking import check
from invariances.config.reading import merge, read
from invariances.config.sizes import require_fits
from invariances.data import ColorfulDigitsPairsTest, DigitsTest, Folder
from invariances.data.loader import Loader
from invariances.errors import InvalidInput, UserError
from invariances.evaluation.metrics.fid.extractors import PictureExtractor, random_network
from invariances.evaluation.metrics.fid.fid import compare
from invariances.evaluation.metrics.fid.reference import measure, reference
from invariances.training.run import Run
from invariances.utils import checkpoints

CONFIG = {
    "experiment_name": "clf",
    "model": "invariances.models.DigitClassifier",
    "iterator": "invariances.iterators.ClassifierIterator",
    "datasets": {"train": "invariances.data.DigitsTrain", "validation": "invariances.data.DigitsTest"},
    "learning_rate": 1e-3,
    "num_steps": 20,
}


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path / "data"))


def test_C05_a_buffer_that_is_not_finite_is_named(tmp_path):
    norm = nn.BatchNorm1d(2)
    norm.running_var[1] = torch.nan
    torch.save(norm.state_dict(), tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"1 weights are not finite \(running_var\)"):
        checkpoints.load_weights(nn.BatchNorm1d(2), checkpoints.load(tmp_path / "a.ckpt"), tmp_path / "a.ckpt")


@pytest.mark.parametrize("step", [torch.tensor(float("nan")), None, torch.tensor(-1), -1, 10**30, torch.ones(2), "3"])
def test_a_step_counter_that_is_no_count(step):
    state = {"state_dict": {"step": step}, "optimizer_states": [], "loops": {}, "pytorch-lightning_version": "2"}
    with pytest.raises(UserError, match=r"a\.ckpt: its step counter is .*expected a count"):
        checkpoints.step_of(state, "a.ckpt")


def test_a_network_larger_than_the_machine_is_refused_before_it_is_built(tmp_path):
    config = CONFIG | {"model": "torch.nn.Linear", "Model": {"in_features": 10**9, "out_features": 10**9}}
    checkpoints.save({"state_dict": {"weight": torch.zeros(1)}, "config": config}, tmp_path / "a.ckpt")
    from invariances.config.parts import load_network

    with pytest.raises(UserError, match=r"^Model: .*"):
        load_network(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="30,000 tensors"):
        require_fits(lambda: nn.Sequential(*(nn.Linear(1, 1) for _ in range(10**9))), "Model")
    before = torch.get_rng_state()
    require_fits(lambda: nn.Linear(3, 3), "Model")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_data_processes", 10**4, "n_data_processes: got 10000; expected"),
        ("trainer", {"devices": 10**6}, "trainer/devices: got 1000000; expected at most"),
        ("trainer", {"min_steps": 50}, "trainer/min_steps: is set by the run; use num_steps"),
    ],
)
def test_numbers_that_no_run_can_have(key, value, message):
    with pytest.raises(UserError, match=message):
        check(CONFIG | {key: value})


def test_C23_FID_with_one_picture(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    loader = Loader(Folder(str(tmp_path), size=8), 4)
    with pytest.raises(InvalidInput, match=r"1 picture\(s\) found; statistics need at least 2"):
        reference(loader, random_network())


def test_C24_statistics_that_are_not_ours_are_read_without_a_lock(tmp_path):
    batches, theirs = [{"image": torch.rand(4, 3, 8, 8) * 2 - 1}], tmp_path / "theirs"
    theirs.mkdir()
    written = reference(batches, random_network(), theirs / "a.npz", keep=False)
    (theirs / ".a.npz.lock").unlink(missing_ok=True)
    theirs.chmod(0o555)
    assert reference(batches, random_network(), theirs / "a.npz", keep=False).statistics.n == written.statistics.n
    assert [path.name for path in theirs.iterdir()] == ["a.npz"]
    theirs.chmod(0o755)


def test_C24_half_a_file_in_our_own_cache_is_computed_again(tmp_path, caplog):
    batches = [{"image": torch.rand(4, 3, 8, 8) * 2 - 1}]
    first = reference(batches, random_network(), keep=False)
    (path,) = (tmp_path / "data" / "cache" / "fid").glob("*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    assert torch.equal(reference(batches, random_network(), keep=False).statistics.mean, first.statistics.mean)
    assert "it is computed again" in caplog.text


def test_C24_statistics_of_another_width_are_refused_with_both():
    images = [torch.rand(4, 3, 8, 8) * 2 - 1]
    extractors = (PictureExtractor("pixels", nn.Flatten(), size=size) for size in (2, 3))
    narrow, wide = (measure(images, extractor, keep=False) for extractor in extractors)
    with pytest.raises(InvalidInput, match="real images have 12 features, those of the samples 27"):
        compare(narrow, wide, "pixels")


class TestC25Overrides:
    def test_an_argument_of_a_text_is_one_mistake(self):
        with pytest.raises(UserError, match=r"^model: ") as caught:
            check(read([], {"model/x": "1"}, CONFIG))
        assert "\n" not in str(caught.value)

    def test_the_last_of_two_values_counts_and_is_said(self, caplog):
        options = parse(["-b", "a.yaml", "-t", "--seed", "1", "--seed=2"])
        assert options.overrides == {"seed": "2"}
        assert [record.message for record in caplog.records] == ["--seed: is given twice; the last one counts"]

    def test_places_of_a_list(self):
        changed = read([], {"notes/0/b": "1", "notes/1": "x"}, {"notes": [{"a": 0}, 2]})
        assert changed == {"notes": [{"a": 0, "b": 1}, "x"]}
        assert merge({"a": [1]}, {"a": {"7": 1}}) == {"a": {"7": 1}}

    def test_another_class_brings_its_own_arguments(self):
        base = {"datasets": {"validation": {"class": "a.A", "size": 3}}}
        replaced = read([], {"datasets/validation": "{class: a.B}"}, base)
        assert replaced["datasets"]["validation"] == {"class": "a.B"}
        changed = read([], {"datasets/validation/size": "4"}, base)
        assert changed["datasets"]["validation"] == {"class": "a.A", "size": 4}


def test_C27_old_names_of_spectral_norms():
    old, new = nn.utils.spectral_norm(nn.Linear(3, 2)), nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))
    checkpoints.load_weights(new, old.state_dict(), "a.ckpt")
    x = torch.rand(4, 3)
    assert torch.allclose(new.eval()(x), old.eval()(x), atol=1e-6)


@pytest.mark.parametrize("kind", ["without checksums", "safetensors"])
def test_C28_sound_files_are_loaded(tmp_path, kind):
    weights = {"weight": torch.rand(2, 3)}
    if kind == "safetensors":
        from safetensors.torch import save_file

        path = tmp_path / "a.safetensors"
        save_file(weights, path)
    else:
        path, before = tmp_path / "a.ckpt", torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(False)
        torch.save(weights, path)
        torch.serialization.set_crc32_options(before)
    assert torch.equal(checkpoints.weights_of(checkpoints.load(path))["weight"], weights["weight"])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"incomplete|damaged"):
        checkpoints.load(path)


@pytest.mark.parametrize(("data", "image"), [(DigitsTest, "image"), (ColorfulDigitsPairsTest, "example1")])
@pytest.mark.parametrize("n_workers", [0, 1])
def test_C31_a_plain_loader(data, image, n_workers):
    batch = next(iter(DataLoader(data(), 4, num_workers=n_workers)))
    assert type(batch) is dict and torch.equal(batch[image][2], data()[2][image])
    with pytest.raises(KeyError):
        data().__getitems__([0])[1]


@pytest.mark.parametrize("n", [-3, 0, 10**12])
def test_C32_numbers_that_a_constructor_refuses(n, caplog):
    from invariances.config.building import build_dataset

    spec = {"class": "invariances.data.BigGANSamplesTrain", "n": n}
    with pytest.raises(UserError, match=r"^datasets/train: ") as caught:
        len(build_dataset({"datasets": {"train": spec}}, "train")) or pytest.fail("empty")
    assert "\n" not in str(caught.value)


def test_C32_a_name_that_is_too_long(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^-n a{20}…: has 300 characters; expected at most 150$"):
        Run.create("a" * 300)
    assert not list(tmp_path.glob("logs/*"))
