import io
import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from invariances.data.pictures import BrokenPicture, Square, UnreadPicture, list_pictures, load_picture


def pixels(path):
    return np.asarray(load_picture(path)).astype(int)


def ramp(n=256):
    return np.arange(n * 16).reshape(16, n).astype(np.uint16) * 16


def test_sixteen_bit_grey_keeps_its_levels(tmp_path):
    Image.fromarray(ramp()).save(tmp_path / "a.png")
    values = pixels(tmp_path / "a.png")
    assert len(np.unique(values)) >= 100
    assert np.abs(values - ramp()[..., None] / 257).max() <= 0.5


@pytest.mark.parametrize("kind", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bit_extremes_are_black_and_white(tmp_path, kind):
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(tmp_path / kind)
    assert pixels(tmp_path / kind)[0].tolist() == [[0] * 3, [255] * 3]


def write_tiff(path, data, bits, sample_format):
    """Two grey pixels side by side."""
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(data), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = 8 + len(data)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, start) + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


@pytest.mark.parametrize(("bits", "data"), [(12, b"\x00\x0f\xff"), (16, b"\x00\x00\xff\xff")])
def test_white_is_that_of_the_depth_that_a_tiff_states(tmp_path, bits, data):
    assert pixels(write_tiff(tmp_path / "a.tif", data, bits, 1))[0].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize(("bits", "sample_format"), [(16, 2), (32, 1), (32, 2)])
def test_integers_without_a_known_white_level_are_refused(tmp_path, bits, sample_format):
    levels = struct.pack("<2h" if bits == 16 else "<2i", 0, 252)
    with pytest.raises(BrokenPicture, match=r"a\.tif .* signed or 32-bit integers, .* save it with 8 or 16 bits"):
        load_picture(write_tiff(tmp_path / "a.tif", levels, bits, sample_format))


def test_floating_point_pictures_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(BrokenPicture, match="floating-point"):
        load_picture(tmp_path / "a.tif")


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [255, 0, 0, 128]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    clear, red, half = pixels(tmp_path / "a.png")[0].tolist()
    assert clear == [255] * 3 and red == [255, 0, 0] and half == [255, 127, 127]


def test_transparent_palettes_are_laid_on_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    picture.save(tmp_path / "a.png", transparency=0)
    assert pixels(tmp_path / "a.png")[0].tolist() == [[255] * 3, [0, 0, 255]]


def test_a_palette_becomes_its_colors(tmp_path):
    Image.new("RGB", (4, 4), (10, 200, 30)).quantize().save(tmp_path / "a.png")
    assert (pixels(tmp_path / "a.png") == (10, 200, 30)).all()


def test_grey_is_repeated(tmp_path):
    Image.new("L", (4, 4), 77).save(tmp_path / "a.png")
    assert (pixels(tmp_path / "a.png") == 77).all()


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("RGB", (16, 16), (200, 100, 50)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert np.abs(pixels(tmp_path / "a.jpg") - (200, 100, 50)).max() <= 3


def test_exif_turns_the_picture_upright(tmp_path):
    wide = Image.new("RGB", (6, 4), "black")
    wide.paste("white", (0, 0, 3, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise: the left side becomes the top
    wide.save(tmp_path / "a.jpg", exif=exif, quality=100)
    upright = pixels(tmp_path / "a.jpg")
    assert upright.shape == (6, 4, 3) and upright[:2].min() > 200 and upright[4:].max() < 50


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (pixels(tmp_path / "a.gif") == (255, 0, 0)).all()


def test_a_name_may_hold_anything(tmp_path):
    path = tmp_path / "schöne Katze.png"
    Image.new("RGB", (2, 2), "red").save(path)
    assert pixels(path).shape == (2, 2, 3)


def jpeg(size=(200, 200)):
    content = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(content, "JPEG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (jpeg()[: len(jpeg()) // 2], "truncated"),
        (b"no picture at all", "it has no known format"),
        (None, "No such file"),
    ],
)
def test_broken_files_are_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "broken.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BrokenPicture) as error:
        load_picture(path)
    assert str(path) in str(error.value) and reason in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(BrokenPicture, match=r"a\.png is no regular file"):
        load_picture(tmp_path / "a.png")


def test_what_the_system_did_not_give_out_is_told_from_what_is_broken(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UnreadPicture, match="No such file"):
        load_picture(tmp_path / "gone.png")
    (tmp_path / "a.png").write_bytes(b"no picture at all")
    with pytest.raises(BrokenPicture) as error:
        load_picture(tmp_path / "a.png")
    assert not isinstance(error.value, UnreadPicture)


def test_open_files_are_read_too():
    assert load_picture(io.BytesIO(jpeg())).size == (200, 200)
    with pytest.raises(BrokenPicture, match="the file cannot be read as a picture: it is empty"):
        load_picture(io.BytesIO(b""))


@pytest.mark.parametrize("size", [(1, 1), (8000, 50), (100, 140), (128, 128), (129, 128)])
def test_every_shape_becomes_square(size):
    image = Square(128)(Image.new("RGB", size, (1, 2, 3)))
    assert image.shape == (3, 128, 128) and image.dtype == np.uint8
    assert (image == np.array([1, 2, 3])[:, None, None]).all()


@pytest.mark.parametrize("size", [(8000, 50), (3200, 3200)])
def test_long_and_large_files_are_read(tmp_path, size):
    Image.new("RGB", size, "blue").save(tmp_path / "a.bmp")  # 30 MB in the second case
    assert (Square(8)(load_picture(tmp_path / "a.bmp"))[2] == 255).all()


def test_a_picture_of_the_size_is_kept_exactly():
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (32, 32, 3), dtype=np.uint8))
    assert (Square(32)(picture) == np.asarray(picture).transpose(2, 0, 1)).all()


def test_the_middle_is_kept():
    picture = Image.new("RGB", (60, 20), "black")
    picture.paste("white", (20, 0, 40, 20))
    assert (Square(20)(picture) == 255).all()
    assert (Square(10, crop=10)(picture) == 255).all()


def test_crop_is_at_most_the_short_side():
    picture = Image.new("RGB", (30, 20), "white")
    assert (Square(8, crop=500)(picture) == Square(8)(picture)).all()


def test_resizing_is_that_of_torchvision():
    noise = np.random.RandomState(0).randint(0, 256, (400, 200, 3), dtype=np.uint8)
    small = functional.resize(torch.from_numpy(noise).permute(2, 0, 1).float(), 50, antialias=True)
    found = torch.from_numpy(Square(50)(Image.fromarray(noise))).float()
    assert (functional.center_crop(small, 50) - found).abs().max() <= 1


def test_shrinking_filters():
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::3] = 255
    small = Square(128)(Image.fromarray(stripes))[:, :, 2:-2] / 255
    assert abs(small.mean() - 1 / 3) < 0.01 and small.std() < 0.03


@pytest.mark.parametrize(("sizes", "found"), [((0, None), "size is 0"), ((32, 0), "crop is 0"), ((-1,), "size is -1")])
def test_sizes_below_a_pixel_are_refused(sizes, found):
    with pytest.raises(ValueError, match=f"{found}; expected 1 or more"):
        Square(*sizes)


def test_listing_is_sorted_recursive_and_without_hidden_files(tmp_path):
    for name in ("b/x.PNG", "a.jpg", ".hidden.jpg", ".git/y.png", "b/notes.txt", "c.jpeg/z.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path)]
    assert found == ["a.jpg", "b/x.PNG", "c.jpeg/z.webp", "gone.png"]


def test_listing_follows_links_to_folders_but_not_in_circles(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(b"")
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    assert list_pictures(folder) == [folder / "linked" / "x.png"]


def test_folders_that_link_to_each_other_count_once_and_under_their_own_paths(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "in" / "a" / "lb").symlink_to("../b")
    (tmp_path / "in" / "b" / "la").symlink_to("../a")
    (tmp_path / "in" / "b" / "up").symlink_to("../..")
    (tmp_path / "3.png").write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path / "in")]
    assert found == ["in/a/1.png", "in/b/2.png"]
    assert len(list_pictures(tmp_path / "in" / "a")) == 2  # b is below it by the link alone


def close(monkeypatch, folder):
    """Let the system refuse to list a folder, as it does to anyone but root without the right to read."""
    scandir = os.scandir

    def closed(path):
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)


def test_a_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    close(monkeypatch, tmp_path / "a")
    with pytest.raises(ValueError, match=f"the folder {tmp_path / 'a'} cannot be listed: Permission denied"):
        list_pictures(tmp_path)
    assert list_pictures(tmp_path / "nowhere") == []


@pytest.mark.parametrize("antialias, level", [(True, 57), (False, 200)])  # 57: (1.875 / 3.5)² · 200
def test_without_antialias_only_the_four_nearest_pixels_count(antialias, level):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[np.ix_([1, 2, 5, 6], [1, 2, 5, 6])] = 200  # around 1.5 and 5.5, the centres of the smaller pixels
    assert (Square(2, antialias=antialias)(Image.fromarray(pixels)) == np.full((3, 2, 2), level)).all()
