import os

import numpy as np
import pytest
import torch
from PIL import Image

from invariances.data import Folder, LabelFolder
from invariances.data.archives import MissingFiles
from invariances.data.pictures import BrokenPicture
from tests.data.stand_ins import write_picture
from tests.data.test_pictures import close


def folder(tmp_path, **arguments):
    return Folder(str(tmp_path / "in"), size=16, root=str(tmp_path), **arguments)


def labelled(tmp_path, part, **arguments):
    return LabelFolder(str(tmp_path / part), size=16, root=str(tmp_path), **arguments)


@pytest.fixture
def odd(tmp_path):
    """A folder of pictures of every kind, and of files that are none."""
    home = tmp_path / "in"
    home.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(home / "cmyk.jpg")
    Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256)).save(home / "ramp.png")
    Image.new("RGB", (9, 9), "blue").quantize().save(home / "palette.png")
    Image.new("RGBA", (9, 9), (255, 0, 0, 0)).save(home / "transparent.png")
    Image.new("L", (9, 9), 100).save(home / "grey.png")
    Image.new("RGB", (6, 4), "green").save(home / "turned.jpg", exif=exif)
    Image.new("RGB", (1, 1), "white").save(home / "one pixel.png")
    write_picture(home / "schöne Katze.png")
    noise = np.random.RandomState(0).randint(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(home / "half.jpg")
    (home / "half.jpg").write_bytes((home / "half.jpg").read_bytes()[:9000])
    (home / "empty.jpg").touch()
    (home / "text.jpg").write_text("not a picture")
    (home / "gone.png").symlink_to(home / "nowhere.png")
    return tmp_path


BROKEN = ["empty.jpg", "gone.png", "half.jpg", "text.jpg"]


def test_good_files_are_read_and_bad_ones_listed_in_every_run(odd):
    for _ in range(2):
        data = folder(odd, on_error="skip")
        assert len(data) == 8
        batch = data.__getitems__(range(8))
        assert batch["image"].shape == (8, 3, 16, 16) and batch["image"].dtype == torch.float32
        assert batch["image"].min() >= -1 and batch["image"].max() < 1
        assert len(data.skipped) == 4
        for reason, name in zip(data.skipped, BROKEN, strict=True):
            assert str(odd / "in" / name) in reason
        assert [path for path in data.files if path.endswith(tuple(BROKEN))] == []


def test_bad_files_stop_it_by_full_path(odd):
    with pytest.raises(BrokenPicture) as error:
        folder(odd)
    assert all(str(odd / "in" / name) in str(error.value) for name in BROKEN)


def test_values_of_odd_files(odd):
    data = folder(odd, on_error="skip")
    image = {path.rpartition("/")[2]: data[i]["image"].mean((1, 2)) for i, path in enumerate(data.files)}
    for name, color in {
        "cmyk.jpg": (255, 0, 0),
        "ramp.png": (128, 128, 128),
        "palette.png": (0, 0, 255),
        "transparent.png": (255, 255, 255),
        "grey.png": (100, 100, 100),
        "turned.jpg": (0, 128, 0),
        "one pixel.png": (255, 255, 255),
    }.items():
        assert torch.allclose((image[name] + 1) * 128, torch.tensor(color) + 0.5, atol=3), name


def test_a_pipe_is_a_broken_picture(tmp_path):
    write_picture(tmp_path / "in" / "1.png")
    os.mkfifo(tmp_path / "in" / "2.png")
    with pytest.raises(BrokenPicture, match=r"1 of 2 pictures .*2\.png is no regular file"):
        folder(tmp_path)
    assert len(folder(tmp_path, on_error="skip")) == 1


def test_sub_folders_are_searched_and_the_order_is_that_of_the_paths(tmp_path):
    for name in ("b/2.png", "a.png", "b/1.jpg", ".hidden/3.png"):
        write_picture(tmp_path / "in" / name)
    assert [path.removeprefix(str(tmp_path / "in")) for path in folder(tmp_path).files] == [
        "/a.png",
        "/b/1.jpg",
        "/b/2.png",
    ]


def test_noise_differs_between_epochs_unless_fixed(tmp_path):
    write_picture(tmp_path / "in" / "a.png")
    for seed, changes in ((0, True), (None, False)):
        data = folder(tmp_path, seed=seed)
        before = data[0]["image"]
        data.set_epoch(1)
        assert torch.equal(before, data[0]["image"]) != changes


@pytest.mark.parametrize("kind", [Folder, LabelFolder])
def test_missing_folders_are_named(tmp_path, kind):
    with pytest.raises(MissingFiles, match=f"the folder {tmp_path / 'in'} is not there"):
        kind(str(tmp_path / "in"))
    (tmp_path / "in").touch()
    with pytest.raises(MissingFiles, match=f"{tmp_path / 'in'} is no folder"):
        kind(str(tmp_path / "in"))


def test_a_folder_without_pictures_is_told_with_the_endings(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    with pytest.raises(MissingFiles, match=rf"{tmp_path / 'in'} holds no picture; .*\.jpg \.jpeg \.png"):
        folder(tmp_path)


def test_a_label_folder_without_sub_folders_is_told(tmp_path):
    write_picture(tmp_path / "in" / "a.png")
    with pytest.raises(MissingFiles, match=r"has no sub-folders with pictures .* use Folder"):
        labelled(tmp_path, "in")


@pytest.fixture
def parts(tmp_path):
    """train has cat, dog and an empty emu, and things that are no classes; val has dog and emu."""
    for name in ("train/cat/1", "train/dog/1", "train/dog/deep/2", "val/dog/1", "val/emu/1"):
        write_picture(tmp_path / f"{name}.png")
    for name in ("train/emu", "train/bee", "train/.ipynb_checkpoints"):
        (tmp_path / name).mkdir()
    write_picture(tmp_path / "train" / ".ipynb_checkpoints" / "1.png")
    (tmp_path / "train" / ".DS_Store").touch()
    return tmp_path


def test_both_parts_number_their_classes_alike(parts):
    train, val = labelled(parts, "train"), labelled(parts, "val")
    assert train.classes == val.classes == ["cat", "dog", "emu"]
    assert train.labels["class"].tolist() == [0, 1, 1]
    assert val.labels["class"].tolist() == [1, 2]
    assert train[2]["class"] == 1 and train[2]["class"].dtype == torch.int64


def test_a_relative_folder_is_the_same(parts, monkeypatch):
    monkeypatch.chdir(parts / "val")
    assert LabelFolder(".", root=str(parts)).classes == ["cat", "dog", "emu"]


def test_a_folder_on_its_own_numbers_what_holds_pictures(parts):
    (parts / "val").rename(parts / "mine")
    assert labelled(parts, "mine").classes == ["dog", "emu"]


def test_a_class_that_training_does_not_know_is_refused(parts):
    write_picture(parts / "val" / "yak" / "1.png")
    with pytest.raises(ValueError, match=r"val has \['yak'\], .* \['cat', 'dog', 'emu'\]"):
        labelled(parts, "val")


def test_another_number_of_classes_is_refused(parts):
    with pytest.raises(ValueError, match=r"n_classes is 2, but .*train has 3: \['cat', 'dog', 'emu'\]"):
        labelled(parts, "train", n_classes=2)
    assert len(labelled(parts, "train", n_classes=3)) == 3


def test_classes_may_be_given(parts):
    data = labelled(parts, "val", classes=["emu", "fox", "dog"])
    assert data.labels["class"].tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"train has \['cat'\]"):
        labelled(parts, "train", classes=["dog"])


@pytest.mark.parametrize("wrong", ["dog", ".", "..", "../val", "dog/deep", "", ".ipynb_checkpoints", "/"])
def test_classes_that_are_no_sub_folders_of_their_own_are_refused(parts, wrong):
    with pytest.raises(ValueError, match=r"names of sub-folders of .*train, each once; correct \["):
        labelled(parts, "train", classes=["cat", "dog", wrong])


def test_a_class_without_a_folder_is_warned_of_with_the_nearest(parts, caplog):
    labelled(parts, "val", classes=["cat", "dog", "emu"])  # cat is in the other part
    assert caplog.text == ""
    labelled(parts, "val", classes=["dog", "emu", "emo"])
    assert f"{parts / 'val'} has no folder for the class 'emo'; the nearest is emu" in caplog.text


@pytest.mark.parametrize("part", ["train", "mine"])
def test_a_class_folder_that_cannot_be_listed_does_not_shift_the_others(parts, monkeypatch, part):
    (parts / "train").rename(parts / part)
    close(monkeypatch, parts / part / "cat")
    with pytest.raises(ValueError, match=r"cat cannot be listed: Permission denied"):
        labelled(parts, part)


def test_a_link_to_the_folder_itself_is_no_class(parts):
    for name, target in (("all", "."), ("up", "..")):
        (parts / "train" / name).symlink_to(target)
    assert labelled(parts, "train").classes == ["cat", "dog", "emu"]


def test_broken_pictures_take_their_labels_along(parts):
    (parts / "train" / "cat" / "0.png").touch()
    data = labelled(parts, "train", on_error="skip")
    assert data.labels["class"].tolist() == [0, 1, 1] and len(data.skipped) == 1
