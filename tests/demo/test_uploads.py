import io

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

from invariances.data.pictures import BrokenPicture
from invariances.demo.uploads import FRAMES, keep_answers, read_clip, read_picture, write_clip
from invariances.errors import InvalidInput


def saved(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def turned():
    """A picture that is white above and black below, stored lying on its side."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    return saved(Image.fromarray(pixels), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (saved(Image.new("L", (40, 30), 255)), 1.0),
        (saved(Image.new("RGBA", (40, 30), (0, 0, 0, 0))), 1.0),  # transparent: on white
        (saved(Image.new("CMYK", (40, 30), (0, 0, 0, 0)), "JPEG"), 1.0),
        (saved(Image.new("I;16", (40, 30), 65535)), 1.0),
        (saved(Image.new("P", (40, 30), 0)), -1.0),
        (saved(Image.new("RGB", (1, 1), "white")), 1.0),
        (saved(Image.new("RGB", (8000, 50), "white")), 1.0),
        (saved(Image.new("RGB", (9, 9), "white"), "GIF", save_all=True, append_images=[Image.new("RGB", (9, 9))]), 1.0),
    ],
)
def test_pictures_of_all_kinds_are_images(content, value):
    image = read_picture(content, channels=3, size=16)
    assert image.shape == (1, 3, 16, 16) and torch.allclose(image, torch.full_like(image, value), atol=0.02)
    assert read_picture(content, channels=1, size=16).shape == (1, 1, 16, 16)


def test_a_photograph_is_turned_upright():
    image = read_picture(turned(), channels=3, size=16)
    assert image[0, :, 2].mean() > 0.9 and image[0, :, 13].mean() < -0.9


@pytest.mark.parametrize("content", [b"", b"no picture at all", saved(Image.new("RGB", (64, 64), "red"), "BMP")[:200]])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(BrokenPicture, match=r"the file cannot be read as a picture: (it|image file is truncated)"):
        read_picture(content, 3, 16)


def test_uploads_are_bounded():
    with pytest.raises(InvalidInput, match=r"10000 × 5000 pixels; expected at most 40 million"):
        read_picture(saved(Image.new("1", (10000, 5000))), 3, 16)
    with pytest.raises(InvalidInput, match="21 MB; expected at most 20 MB"):
        read_picture(bytes(21 * 2**20), 3, 16)
    with pytest.raises(InvalidInput, match="4000 × 1100 pixels"):
        read_clip(saved(Image.new("P", (4000, 1100)), "GIF"), "gif", 3, 16)


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_clip_comes_back_as_it_was_written(ending):
    greys = torch.linspace(-1, 1, 5)
    frames = greys.view(5, 1, 1, 1).expand(5, 3, 32, 32).contiguous()
    again = read_clip(write_clip(frames, ending), ending, channels=3, size=32)
    assert again.shape == frames.shape and torch.allclose(again.mean(dim=(1, 2, 3)), greys, atol=0.05)


def test_a_long_clip_is_cut():
    frames = [Image.new("L", (4, 4), i) for i in range(FRAMES + 5)]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert len(read_clip(content, "gif", 1, 4)) == FRAMES


@pytest.mark.parametrize("ending", ["gif", "mp4", "exe"])
@pytest.mark.parametrize("content", [b"", b"no clip at all"])
def test_what_is_no_clip_is_refused(content, ending):
    with pytest.raises(InvalidInput, match=r"the clip .*; try an animated GIF or an MP4"):
        read_clip(content, ending, 3, 16)


def filled_queue():
    queue, answer, text = ForwardMsgQueue(), ForwardMsg(), ForwardMsg()
    answer.file_urls_response.response_id = "1"
    text.delta.new_element.text.body = "of the page as it was"
    for message in (answer, text):
        queue.enqueue(message)
    return queue


def test_a_page_that_starts_anew_keeps_answers_alone(monkeypatch):
    monkeypatch.setattr(ForwardMsgQueue, "clear", ForwardMsgQueue.clear)  # as it was, after the test
    keep_answers()
    queue = filled_queue()
    queue.clear(retain_lifecycle_msgs=True)
    assert [message.file_urls_response.response_id for message in queue.flush()] == ["1"]
    assert queue.is_empty()


def test_an_answer_is_sent_once(monkeypatch):
    monkeypatch.setattr(ForwardMsgQueue, "clear", ForwardMsgQueue.clear)
    keep_answers()
    queue = filled_queue()
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=["a fragment"])
    assert [message.WhichOneof("type") for message in queue.flush()].count("file_urls_response") == 1
