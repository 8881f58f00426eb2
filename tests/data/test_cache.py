import json
import os
import pickle
import shutil
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from PIL import Image

from invariances.data import cache
from invariances.data.cache import PictureFiles, cached
from invariances.data.memmap import MemmapImages
from invariances.data.pictures import BrokenPicture, Square
from tests.data.stand_ins import write_picture


@pytest.fixture
def pictures(tmp_path):
    """Picture i is of grey level i; the first is black."""
    paths = [str(write_picture(tmp_path / "in" / f"{i:02}.png", (i,) * 3)) for i in range(20)]
    return PictureFiles("numbers", paths, {"class": torch.arange(20)})


@pytest.fixture
def decoded(monkeypatch):
    """Rows that were decoded; in this process, in chunks of four."""
    rows = []
    decode = PictureFiles.decode

    def counted(self, row, square):
        rows.append(row)
        return decode(self, row, square)

    monkeypatch.setattr(PictureFiles, "decode", counted)
    monkeypatch.setattr(cache, "_CHUNK", 4)
    monkeypatch.setattr(cache, "n_cpus", lambda: 0)
    return rows


def levels(images, n=20):
    return images[np.arange(n)].mean((1, 2, 3)).tolist()


def test_images_are_decoded_once_in_order(pictures, decoded, tmp_path):
    images, kept, skipped = cached(pictures, Square(8), root=tmp_path)
    assert len(images) == 20 and images[np.array([3, 1])].shape == (2, 3, 8, 8)
    assert levels(images) == list(range(20)) and kept is pictures and skipped == []
    n_decoded = len(decoded)
    assert (
        levels(cached(pictures, Square(8), root=tmp_path)[0]) == list(range(20)) and len(decoded) == n_decoded
    )


def test_several_processes_decode_the_same(pictures, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_CHUNK", 4)
    monkeypatch.setattr(cache, "n_cpus", lambda: 2)
    assert levels(cached(pictures, Square(8), root=tmp_path)[0]) == list(range(20))


def test_another_size_or_picture_is_another_cache(pictures, decoded, tmp_path):
    cached(pictures, Square(8), root=tmp_path)
    for square in (Square(9), Square(8, crop=5)):
        decoded.clear()
        cached(pictures, square, root=tmp_path)
        assert len(decoded) >= 20
    write_picture(tmp_path / "in" / "05.png", (99,) * 3, size=(21, 30))
    assert levels(cached(pictures, Square(8), root=tmp_path)[0])[5] == 99


def test_a_build_that_was_interrupted_goes_on(pictures, decoded, tmp_path, monkeypatch):
    decode = PictureFiles.decode

    def interrupted(self, row, square):
        if row == 14:
            raise KeyboardInterrupt
        return decode(self, row, square)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PictureFiles, "decode", interrupted)
        cached(pictures, Square(8), root=tmp_path)
    (folder,) = (tmp_path / "cache").glob("numbers-*")
    assert [path.name for path in folder.iterdir()] == ["images.part"]
    with open(folder / "images.part", "ab") as part:
        part.write(b"half a chunk")
    decoded.clear()
    assert levels(cached(pictures, Square(8), root=tmp_path)[0]) == list(range(20))
    assert decoded == list(range(12, 20))


def test_black_pictures_are_decoded_once(decoded, tmp_path):
    paths = [str(write_picture(tmp_path / "in" / f"{i:02}.png", "black")) for i in range(20)]
    pictures = PictureFiles("night", paths, {})
    for _ in range(2):
        images, _, skipped = cached(pictures, Square(8), root=tmp_path)
        assert levels(images) == [0] * 20 and skipped == []
    assert decoded == list(range(20))


def test_failures_survive_a_kill(broken, decoded, tmp_path, monkeypatch):
    decode = PictureFiles.decode

    def killed(self, row, square):
        return os._exit(9) if row == 10 else decode(self, row, square)

    with monkeypatch.context() as patch:
        patch.setattr(PictureFiles, "decode", killed)
        process = get_context("fork").Process(target=cached, args=(broken, Square(8), "skip", tmp_path))
        process.start()
        process.join()
        assert process.exitcode == 9
    (log,) = (tmp_path / "cache").glob("numbers-*/failures.part")
    with open(log, "a") as file:
        file.write('[9, "broken", "of a chunk without its bytes"]\n[10, "bro')
    images, _, skipped = cached(broken, Square(8), "skip", tmp_path)
    assert decoded == list(range(8, 20)) and not log.exists()
    assert levels(images, 18) == [i for i in range(20) if i not in (3, 7)]
    assert ["03.png" in skipped[0], "07.png" in skipped[1], len(skipped)] == [True, True, 2]


@pytest.mark.parametrize("damage", ["index", "images", "cut"])
def test_a_cache_that_lost_a_part_is_built_again(pictures, decoded, tmp_path, damage):
    cached(pictures, Square(8), root=tmp_path)
    (folder,) = (tmp_path / "cache").glob("numbers-*")
    if damage == "cut":
        (folder / "images.u8").write_bytes((folder / "images.u8").read_bytes()[:-1])
    else:
        next(folder.glob(f"{damage}.*")).unlink()
    assert levels(cached(pictures, Square(8), root=tmp_path)[0]) == list(range(20))


def test_a_deleted_cache_is_built_again(pictures, decoded, tmp_path):
    cached(pictures, Square(8), root=tmp_path)
    shutil.rmtree(tmp_path / "cache")
    assert levels(cached(pictures, Square(8), root=tmp_path)[0]) == list(range(20))


@pytest.fixture
def broken(pictures, tmp_path):
    (tmp_path / "in" / "03.png").write_bytes(b"")
    (tmp_path / "in" / "07.png").write_bytes(b"no picture")
    return pictures


def test_broken_files_are_all_named_once_by_full_path(broken, decoded, tmp_path):
    for _ in range(2):
        with pytest.raises(BrokenPicture) as error:
            cached(broken, Square(8), root=tmp_path)
        message = str(error.value)
        assert message.startswith("2 of 20 pictures of numbers are broken: ") and "\n" not in message
        assert str(tmp_path / "in/03.png") in message and str(tmp_path / "in/07.png") in message
        assert 'on_error "skip"' in message


def test_broken_files_are_skipped_and_listed_the_same_in_every_run(broken, decoded, tmp_path, caplog):
    for _ in range(2):
        images, kept, skipped = cached(broken, Square(8), "skip", tmp_path)
        left = [i for i in range(20) if i not in (3, 7)]
        assert levels(images, 18) == left == kept.labels["class"].tolist()
        assert kept.paths == [broken.paths[i] for i in left]
        assert ["03.png" in skipped[0], "07.png" in skipped[1], len(skipped)] == [True, True, 2]
    assert caplog.text.count("03.png") == 1


def test_ten_broken_files_are_named_and_the_others_counted(pictures, decoded, tmp_path):
    for path in pictures.paths[:13]:
        open(path, "wb").close()
    with pytest.raises(BrokenPicture, match=r"09\.png .*; and 3 more, in .*index\.json"):
        cached(pictures, Square(8), root=tmp_path)


def test_nothing_but_broken_files_cannot_be_skipped(pictures, decoded, tmp_path):
    for path in pictures.paths:
        open(path, "wb").close()
    with pytest.raises(BrokenPicture, match="20 of 20"):
        cached(pictures, Square(8), "skip", tmp_path)


def test_mended_files_are_seen(broken, decoded, tmp_path):
    with pytest.raises(BrokenPicture):
        cached(broken, Square(8), root=tmp_path)
    for i in (3, 7):
        write_picture(tmp_path / "in" / f"{i:02}.png", (i,) * 3)
    assert levels(cached(broken, Square(8), root=tmp_path)[0]) == list(range(20))


def refuse(monkeypatch, path, times):
    """Let the system refuse that file so many times, as one without the right to read it."""
    opened, left = Image.open, [PermissionError(13, "Permission denied", path)] * times

    def refusing(source):
        if source == path and left:
            raise left.pop()
        return opened(source)

    monkeypatch.setattr(Image, "open", refusing)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_what_the_system_refuses_is_tried_again_in_every_run(pictures, decoded, tmp_path, monkeypatch, on_error):
    (tmp_path / "in" / "03.png").write_bytes(b"no picture")
    refuse(monkeypatch, pictures.paths[5], times=3)  # while building, right after it, in the second run
    for _ in range(2):
        if on_error == "raise":
            with pytest.raises(BrokenPicture, match=r"2 of 20 .*03\.png .*05\.png .*Permission denied"):
                cached(pictures, Square(8), "raise", tmp_path)
        else:
            assert len(cached(pictures, Square(8), "skip", tmp_path)[0]) == 18
    for _ in range(2):
        decoded.clear()
        images, _, skipped = cached(pictures, Square(8), "skip", tmp_path)
        assert levels(images, 19) == [i for i in range(20) if i != 3]
        assert len(skipped) == 1 and "03.png" in skipped[0]
    assert decoded == []


def test_what_the_system_refuses_for_a_moment_is_not_black(pictures, decoded, tmp_path, monkeypatch):
    refuse(monkeypatch, pictures.paths[5], times=1)
    assert levels(cached(pictures, Square(8), root=tmp_path)[0]) == list(range(20))


def test_on_error_is_checked_before_any_work(pictures, decoded, tmp_path):
    import typing

    with pytest.raises((ValueError, TypeError), match="ignore"):
        cached(pictures, Square(8), typing.cast("cache.OnError", "ignore"), tmp_path)
    assert decoded == []


def test_boxes_are_cut_out_and_must_fit(tmp_path, decoded):
    picture = Image.new("RGB", (30, 20), "black")
    picture.paste("white", (10, 5, 20, 15))
    picture.save(tmp_path / "a.png")
    boxes = np.array([[10, 5, 20, 15], [10, 5, 31, 15], [-1, 0, 5, 5], [5, 5, 5, 9]])
    pictures = PictureFiles("boxes", [str(tmp_path / "a.png")] * 4, {}, boxes)
    images, _, skipped = cached(pictures, Square(8), "skip", tmp_path)
    assert len(images) == 1 and (images[np.array([0])] == 255).all()
    assert "size (30, 20), which does not hold the box [10, 5, 31, 15]" in skipped[0]


def test_a_disk_too_small_is_told_before_any_work(pictures, decoded, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ValueError, match="set INVARIANCES_DATA to a larger disk"):
        cached(pictures, Square(8), root=tmp_path)
    assert decoded == []


def test_the_index_tells_what_the_file_holds(broken, decoded, tmp_path):
    cached(broken, Square(8), "skip", tmp_path)
    (index,) = (tmp_path / "cache").glob("numbers-*/index.json")
    content = json.loads(index.read_text())
    assert content["shape"] == [20, 3, 8, 8] and list(content["broken"]) == ["3", "7"]


def test_memmap_images_travel_by_name(pictures, decoded, tmp_path):
    images = cached(pictures, Square(8), root=tmp_path)[0]
    levels(images)
    message = pickle.dumps(images)
    assert len(message) < 1000
    assert levels(pickle.loads(message)) == list(range(20))


def test_memmap_images_may_be_some_of_the_rows(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(12)))
    images = MemmapImages(tmp_path / "x", (4, 3, 1, 1), np.array([0, 3]))
    assert len(images) == 2 and images[np.array([1])].ravel().tolist() == [9, 10, 11]
