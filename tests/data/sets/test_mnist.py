import gzip
import hashlib

import numpy as np
import pytest
import torch

from invariances import data
from invariances.data.sets import mnist
from invariances.utils.download import DownloadError
from tests.data.stand_ins import idx, write_mnist

WHOLE = idx(np.zeros(9, np.uint8))
SETS = ["MNIST", "FashionMNIST"]


@pytest.mark.parametrize("name", SETS)
def test_both_splits_are_read_from_the_layout(tmp_path, name):
    write_mnist(tmp_path, name)
    train, test = (
        getattr(data, f"{name}Train")(root=str(tmp_path)),
        getattr(data, f"{name}Test")(root=str(tmp_path)),
    )
    assert (len(train), len(test)) == (40, 20)
    assert train.labels["class"].tolist() == [i % 10 for i in range(40)]
    example = train[7]
    assert example["image"].shape == (1, 32, 32) and example["image"].dtype == torch.float32
    assert example["image"].min() >= -1 and example["image"].max() < 1
    assert example["class"] == 7 and example["class"].dtype == torch.int64


def test_the_environment_names_the_root(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))
    assert len(data.MNISTTrain()) == 40


def test_values_are_those_of_the_file(tmp_path):
    write_mnist(tmp_path)
    image = data.MNISTTrain(size=28, root=str(tmp_path))[3]["image"]
    level = ((image + 1) * 128).floor()
    assert (level[0, :, 3] == 255).all() and (level[0, :, 4:] == 65).all()


def test_the_test_set_is_the_same_bytes_for_ever(tmp_path):
    write_mnist(tmp_path)
    first, second = data.MNISTTest(root=str(tmp_path)), data.MNISTTest(root=str(tmp_path))
    second.set_epoch(4)
    assert torch.equal(first[5]["image"], second[5]["image"])


def test_packed_files_are_read(tmp_path):
    raw = write_mnist(tmp_path)
    for path in list(raw.iterdir()):
        (raw / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert len(data.MNISTTrain(root=str(tmp_path))) == 40


@pytest.mark.parametrize("name", ["ColorfulMNIST", "ColorfulFashionMNIST"])
def test_pairs(tmp_path, name):
    write_mnist(tmp_path, name.removeprefix("Colorful"))
    train = getattr(data, f"{name}Train")(root=str(tmp_path))
    batch = train.__getitems__(range(40))
    assert set(batch) == {"factor", "example1", "example2", "class1", "class2"}
    assert batch["example1"].shape == batch["example2"].shape == (40, 3, 32, 32)
    assert torch.equal(batch["class1"] == batch["class2"], batch["factor"] == 0)
    test = getattr(data, f"{name}Test")(root=str(tmp_path))
    before = test.__getitems__(range(20))
    test.set_epoch(1)
    assert all(torch.equal(values, before[key]) for key, values in test.__getitems__(range(20)).items())


def test_single_colorful_images(tmp_path):
    write_mnist(tmp_path)
    train = data.SingleColorfulMNISTTrain(root=str(tmp_path))
    assert set(train[0]) == {"image", "class"} and train[0]["image"].shape == (3, 32, 32)
    before = train[0]["image"]
    train.set_epoch(1)
    assert (train[0]["image"].mean((1, 2)) - before.mean((1, 2))).abs().max() > 0.02
    assert len(data.SingleColorfulMNISTTest(root=str(tmp_path))) == 20


def test_labels_and_images_must_belong_together(tmp_path):
    raw = write_mnist(tmp_path)
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(39, dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"train images have shape \(40, 28, 28\) and labels \(39,\)"):
        data.MNISTTrain(root=str(tmp_path))


@pytest.mark.parametrize("shape", [(40, 0, 28), (0, 28, 28)])
def test_images_without_pixels_are_refused(tmp_path, shape):
    raw = write_mnist(tmp_path, n_train=shape[0])
    (raw / "train-images-idx3-ubyte").write_bytes(idx(np.zeros(shape, dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"train images have shape .* none of them 0"):
        data.MNISTTrain(root=str(tmp_path))


def test_classes_that_are_none_of_ten_are_refused(tmp_path):
    path = write_mnist(tmp_path) / "train-labels-idx1-ubyte"
    path.write_bytes(idx(np.arange(200, 240, dtype=np.uint8)))
    with pytest.raises(ValueError, match=f"{path} has the class 200; expected 0 to 9. Delete the file"):
        data.MNISTTrain(root=str(tmp_path))


def test_a_folder_named_like_a_file_is_ignored(tmp_path, caplog):
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    (path.parent / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    path.mkdir()
    assert len(data.MNISTTrain(root=str(tmp_path))) == 40
    assert f"{path} is no regular file; the file is ignored" in caplog.text


def test_a_size_is_refused_before_any_file_is_looked_for(tmp_path):
    with pytest.raises(ValueError, match="size is 0; expected 1 or more"):
        data.MNISTTrain(size=0, root=str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"<html>",
        idx(np.zeros(9, np.uint8))[:-1],
        idx(np.zeros(9, np.uint8)) + b"x",
        b"\0\0\x0d\x01",
    ],
)
def test_anything_but_a_whole_idx_file_is_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is not a whole IDX file"):
        mnist.read_idx(path)


def test_a_damaged_gzip_file_is_refused(tmp_path):
    whole = gzip.compress(idx(np.arange(200, dtype=np.uint8)))
    for content in (whole[:-20], b"<html>", whole[:40] + b"zzzz" + whole[44:]):
        (tmp_path / "file.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"file\.gz is not a whole gzip file"):
            mnist.read_idx(tmp_path / "file.gz")


def test_without_files_or_network_the_message_says_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setitem(mnist.MIRRORS, "MNIST", ("http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"))
    with pytest.raises(DownloadError) as error:
        data.MNISTTrain(root=str(tmp_path))
    for part in ("127.0.0.1:9/a/", "127.0.0.1:9/b/", str(tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz")):
        assert part in str(error.value)


def test_missing_and_damaged_files_are_downloaded(tmp_path, monkeypatch, caplog):
    """The official files are stood in for by those of `write_mnist`, with their checksums."""
    from torchvision.datasets import MNIST

    official = tmp_path / "official"
    packed = {f"{p.name}.gz": gzip.compress(p.read_bytes()) for p in write_mnist(official).iterdir()}
    monkeypatch.setattr(MNIST, "resources", [(n, hashlib.md5(c).hexdigest()) for n, c in packed.items()])
    fetched = []

    def fetch(path, urls, checksum):
        assert checksum == f"md5:{hashlib.md5(packed[path.name]).hexdigest()}"
        assert all(url.endswith(path.name) for url in urls)
        fetched.append(path.name)
        path.write_bytes(packed[path.name])
        return path

    monkeypatch.setattr(mnist, "download", fetch)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"<html>")
    for _ in range(2):
        assert len(data.MNISTTrain(root=str(tmp_path))) == 40
    assert fetched == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert str(raw / "train-labels-idx1-ubyte") in caplog.text
