"""Pictures and clips from visitors: bounded, read in memory, never executed; photographs if there are none."""

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from torch import Tensor

from invariances.data.pictures import Square, load_picture
from invariances.errors import InvalidInput
from invariances.utils.images import from_uint8, to_uint8

MEGABYTES = 20  # of an upload
MEGAPIXELS = 40  # of a picture; decoded it takes up to 4 bytes a pixel
FRAMES = 120  # of a clip
FRAME_MEGAPIXELS = 4  # of a clip
PICTURES = ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff"]
CLIPS = ["gif", "webp", "mp4", "mov", "webm", "avi", "mkv"]
FRAMES_PER_SECOND = 10
# Where files of `CLIPS` have their marks. The decoder would also take playlists, which name other files to be read.
CONTAINERS = [(0, b"GIF8"), (0, b"RIFF"), (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"wide"), (4, b"free")]
CONTAINERS += [(0, b"\x1aE\xdf\xa3")]  # webm, mkv

Images = Float[Tensor, "batch channels size size"]


def read_picture(content: bytes, channels: int, size: int) -> Images:
    """The centre square of a picture, (1, C, size, size) in [-1, 1], read as for training.

    Args:
        content: of the file.
        channels: 1 (grey) or 3 (RGB).
        size: side in pixels.

    Raises:
        InvalidInput: too large.
        BrokenPicture: no picture, or damaged.
    """
    _require_bytes(content)
    dimensions = (0, 0)
    with suppress(Exception):  # `load_picture` explains what is no picture
        dimensions = Image.open(BytesIO(content)).size
    _require_pixels(*dimensions, MEGAPIXELS)
    return _tensor(load_picture(BytesIO(content)), channels, size)


def photographs(channels: int, size: int) -> list[dict[str, Tensor]]:
    """The two photographs of scikit-learn, as examples {"image": (C, size, size) in [-1, 1]}."""
    from sklearn.datasets import load_sample_images  # takes half a second

    return [{"image": _tensor(Image.fromarray(each), channels, size)[0]} for each in load_sample_images().images]


def read_clip(content: bytes, ending: str, channels: int, size: int) -> Images:
    """The first frames of a clip, (T ≤ 120, C, size, size) in [-1, 1].

    Args:
        content: of the file.
        ending: of its name, without the dot.
        channels, size: see `read_picture`.

    Raises:
        InvalidInput: too large, no clip, or damaged.
    """
    _require_bytes(content)
    if not any(content[place : place + len(mark)] == mark for place, mark in CONTAINERS):
        raise InvalidInput("the clip cannot be read: it has another format; try an animated GIF or an MP4")
    try:
        frames = [_frame(pixels, channels, size) for pixels in islice(_frames(content, ending), FRAMES)]
    except InvalidInput:
        raise
    except Exception as error:  # the decoders raise whatever they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"the clip cannot be read: {reason}; try an animated GIF or an MP4") from error
    if not frames:
        raise InvalidInput("the clip has no frames; try an animated GIF or an MP4")
    return torch.cat(frames)


def write_clip(frames: Images, ending: str) -> bytes:
    """A clip as the bytes of a `gif` or `mp4`, frames enlarged so that they can be seen."""
    factor = max(1, 256 // frames.shape[-1])
    pixels = to_uint8(frames.expand(-1, 3, -1, -1)).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    array = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
    if ending == "gif":
        return iio.imwrite("<bytes>", array, extension=".gif", duration=1000 / FRAMES_PER_SECOND, loop=0)
    # macro_block_size: the codec wants even sides, and no more than that
    return iio.imwrite("<bytes>", array, extension=".mp4", plugin="FFMPEG", fps=FRAMES_PER_SECOND, macro_block_size=2)


def _frames(content: bytes, ending: str) -> Iterator[np.ndarray]:
    if ending.lower() in ("gif", "webp"):
        return iio.imiter(content, extension=f".{ending}", plugin="pillow", mode="RGB")
    return iio.imiter(content, extension=f".{ending}", plugin="FFMPEG")


def _frame(pixels: np.ndarray, channels: int, size: int) -> Tensor:
    _require_pixels(pixels.shape[1], pixels.shape[0], FRAME_MEGAPIXELS)
    return _tensor(Image.fromarray(pixels), channels, size)


def _tensor(picture: Image.Image, channels: int, size: int) -> Tensor:
    image = from_uint8(torch.from_numpy(Square(size)(picture))[None])
    return image if channels == 3 else image.mean(dim=1, keepdim=True)


def _require_bytes(content: bytes) -> None:
    if len(content) > MEGABYTES * 2**20:
        raise InvalidInput(f"the file has {len(content) / 2**20:.0f} MB; expected at most {MEGABYTES} MB")


def _require_pixels(width: int, height: int, megapixels: int) -> None:
    if width * height > megapixels * 1e6:
        raise InvalidInput(f"the picture has {width} × {height} pixels; expected at most {megapixels} million")


_clear = ForwardMsgQueue.clear


def keep_answers() -> None:
    """Mend Streamlit 1.67, which loses uploads, in all sessions of this server.

    Before a browser sends a file, it asks the server where to. The answer waits in a queue of messages to the browser,
    which is cleared when a page starts anew: then the browser waits for ever, and the page shows the old picture as if
    nothing had been uploaded.
    """
    ForwardMsgQueue.clear = _clear_all_but_answers  # type: ignore[assignment, method-assign]


def _clear_all_but_answers(
    queue: ForwardMsgQueue, retain_lifecycle_msgs: bool = False, fragment_ids_this_run: list[str] | None = None
) -> None:
    """Replaces `ForwardMsgQueue.clear`; without `retain_lifecycle_msgs` nothing is to be kept."""
    answers = [message for message in queue._queue if _is_answer(message)] if retain_lifecycle_msgs else []
    _clear(queue, retain_lifecycle_msgs, fragment_ids_this_run)
    queue._queue += [answer for answer in answers if answer not in queue._queue]


def _is_answer(message: ForwardMsg) -> bool:
    return message.WhichOneof("type") == "file_urls_response"
