import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch

from invariances import data
from invariances.data.sets import cifar
from invariances.utils.download import DownloadError
from tests.data.stand_ins import write_cifar


def test_both_splits_are_read_from_the_layout(tmp_path):
    write_cifar(tmp_path)
    train, test = data.CIFAR10Train(root=str(tmp_path)), data.CIFAR10Test(root=str(tmp_path))
    assert (len(train), len(test)) == (50, 10)
    assert train.labels["class"].tolist() == list(range(10)) * 5
    example = train[43]
    assert example["image"].shape == (3, 32, 32) and example["class"] == 3
    assert torch.equal(((example["image"] + 1) * 128).floor(), torch.full((3, 32, 32), 83.0))
    assert torch.equal(test[0]["image"], data.CIFAR10Test(root=str(tmp_path))[0]["image"])


def test_channels_are_in_order(tmp_path):
    folder = write_cifar(tmp_path, n=1)
    pixels = np.array([1, 2, 3], dtype=np.uint8).repeat(1024)[None]
    (folder / "test_batch").write_bytes(pickle.dumps({"data": pixels, "labels": [5]}))
    image = data.CIFAR10Test(root=str(tmp_path))[0]["image"]
    assert ((image + 1) * 128).floor()[:, 0, 0].tolist() == [1, 2, 3]


class Evil:
    def __reduce__(self):
        return (print, ("this code must not run",))


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"<html>", b"K\x01}K\x01K\x01sb."),  # the last gives 1 an attribute, which is an AttributeError
        *(pickle.dumps(batch) for batch in ({"data": 1}, [1], {"data": Evil()})),
        pickle.dumps({"data": [[300] * 3072], "labels": [0]}),
        pickle.dumps({"data": np.full((1, 3072), 300), "labels": [0]}),
    ],
)
def test_anything_but_a_batch_is_refused_and_not_run(tmp_path, content, capsys):
    path = write_cifar(tmp_path) / "test_batch"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is not a whole CIFAR10 batch"):
        data.CIFAR10Test(root=str(tmp_path))
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("label", [99, -1, 1.5])
def test_classes_that_are_none_of_ten_are_refused(tmp_path, label):
    path = write_cifar(tmp_path) / "test_batch"
    path.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [0, label]}))
    with pytest.raises(ValueError, match=f"{path} has the class {label}; expected 0 to 9. Delete the file"):
        data.CIFAR10Test(root=str(tmp_path))


def test_a_folder_in_a_files_place_is_told(tmp_path):
    path = write_cifar(tmp_path) / "test_batch"
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=f"{path} is no regular file. Delete the file and run again"):
        data.CIFAR10Test(root=str(tmp_path))


def test_a_size_is_refused_before_any_file_is_looked_for(tmp_path):
    with pytest.raises(ValueError, match="size is -1; expected 1 or more"):
        data.CIFAR10Train(size=-1, root=str(tmp_path))


def test_it_is_downloaded_and_unpacked(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = write_cifar(tmp_path / "official")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(packed.getvalue()).hexdigest())
    (tmp_path / CIFAR10.filename).write_bytes(packed.getvalue())  # put there by hand: no request
    monkeypatch.setattr(cifar, "URLS", ())
    assert len(data.CIFAR10Train(root=str(tmp_path))) == 50
    assert len(data.CIFAR10Test(root=str(tmp_path))) == 10


def test_without_files_or_network_the_message_says_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "URLS", ("http://127.0.0.1:9/x.tar.gz",))
    with pytest.raises(DownloadError, match=str(tmp_path / "cifar-10-python.tar.gz")):
        data.CIFAR10Train(root=str(tmp_path))
