import hashlib
import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import imagenet as torchvision_imagenet

from invariances import data
from invariances.data.archives import MissingFiles
from invariances.data.sets.imagenet import ANIMALS, WNIDS
from tests.data.stand_ins import write_picture

TENCH, CHIHUAHUA, MEERKAT, TOILET_PAPER = "n01440764", "n02085620", "n02138441", "n15075141"
KINDS = [
    data.ImageNetTrain,
    data.ImageNetValidation,
    data.ImageNetAnimalsTrain,
    data.ImageNetAnimalsValidation,
]


def test_classes_are_those_of_pretrained_classifiers():
    assert len(WNIDS) == 1000 and sorted(WNIDS) == WNIDS
    assert [WNIDS.index(wnid) for wnid in (TENCH, CHIHUAHUA, MEERKAT, TOILET_PAPER)] == [0, 151, 299, 999]
    assert len(ANIMALS) == 149


@pytest.fixture
def root(tmp_path):
    for part, n in (("train", 3), ("val", 1)):
        for wnid in (TENCH, CHIHUAHUA, MEERKAT, TOILET_PAPER):
            for i in range(n):
                write_picture(tmp_path / "imagenet" / part / wnid / f"{wnid}_{i}.JPEG")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        (data.ImageNetTrain, [0] * 3 + [151] * 3 + [299] * 3 + [999] * 3),
        (data.ImageNetValidation, [0, 151, 299, 999]),
        (data.ImageNetAnimalsTrain, [0] * 3 + [148] * 3),
        (data.ImageNetAnimalsValidation, [0, 148]),
    ],
)
def test_classes_keep_their_numbers_whatever_is_there(root, kind, classes):
    pictures = kind(root=str(root))
    assert pictures.labels["class"].tolist() == classes
    assert pictures[0]["image"].shape == (3, 128, 128)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_files_are_named_with_where_they_go(tmp_path, kind):
    with pytest.raises(MissingFiles) as error:
        kind(root=str(tmp_path))
    assert str(tmp_path / "imagenet") in str(error.value) and "ILSVRC2012_img" in str(error.value)
    part = "train" if "Train" in kind.__name__ else "val"
    (tmp_path / "imagenet" / part / "other").mkdir(parents=True)
    with pytest.raises(MissingFiles, match=f"{part} has no folder n0"):
        kind(root=str(tmp_path))


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def jpeg():
    content = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(content, "JPEG")
    return content.getvalue()


def write_train_archive(home):
    with tarfile.open(home / "ILSVRC2012_img_train.tar", "w") as outer:
        for wnid in (TENCH, MEERKAT):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for i in range(2):
                    add(tar, f"{wnid}_{i}.JPEG", jpeg())
            add(outer, f"{wnid}.tar", inner.getvalue())


def write_validation_archives(home, monkeypatch):
    with tarfile.open(home / "ILSVRC2012_img_val.tar", "w") as tar:
        for i in range(1, 4):
            add(tar, f"ILSVRC2012_val_{i:08}.JPEG", jpeg())
    meta = io.BytesIO()
    names = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    kinds = list(zip(names, (int, object, object, object, int), strict=True))
    rows = [(1, TENCH, "tench", "", 0), (2, MEERKAT, "meerkat, mierkat", "", 0), (3, "n0", "animal", "", 2)]
    savemat(meta, {"synsets": np.array(rows, dtype=kinds)})
    kit = home / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(kit, "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", b"2\n1\n2\n")
    md5 = hashlib.md5(kit.read_bytes()).hexdigest()
    monkeypatch.setitem(torchvision_imagenet.ARCHIVE_META, "devkit", (kit.name, md5))


def test_archives_are_unpacked(tmp_path, monkeypatch):
    home = tmp_path / "imagenet"
    home.mkdir()
    write_train_archive(home)
    write_validation_archives(home, monkeypatch)
    assert data.ImageNetTrain(root=str(tmp_path)).labels["class"].tolist() == [0, 0, 299, 299]
    validation = data.ImageNetValidation(root=str(tmp_path))
    assert validation.labels["class"].tolist() == [0, 299, 299]
    assert [path[-6:] for path in validation.files] == ["2.JPEG", "1.JPEG", "3.JPEG"]


def test_without_the_development_kit_validation_says_so(tmp_path):
    home = tmp_path / "imagenet"
    home.mkdir()
    with tarfile.open(home / "ILSVRC2012_img_val.tar", "w") as tar:
        add(tar, "ILSVRC2012_val_00000001.JPEG", jpeg())
    with pytest.raises(MissingFiles, match=r"ILSVRC2012_devkit_t12\.tar\.gz"):
        data.ImageNetValidation(root=str(tmp_path))
