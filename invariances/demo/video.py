"""Page: a clip whose frames have the representation of one still image."""

import math

import streamlit as st
import torch
from torch import Tensor

from invariances.analysis import transfer
from invariances.demo.loading import Loaded
from invariances.demo.uploads import CLIPS, FRAMES, MEGABYTES, read_clip, write_clip
from invariances.demo.widgets import LAST, URL, choose_image, choose_source, open_model, page, running

BATCH = 8  # frames between two steps of the progress bar
BUILT_IN_FRAMES = 24
FORMATS = {"gif": "image/gif", "mp4": "video/mp4"}
TEXT = (
    "The representation **z** of a still image, with the invariances **v** of each frame of a clip: what the layer "
    "knows stays as in the still, all else moves as in the clip."
)


def main() -> None:
    """Draw the page."""
    with page("Video", TEXT):
        model = open_model(choose_source("cinn", default=LAST))
        still = choose_image(model, "Still image", "still", 1)
        frames = choose_clip(model)
        result = converted(model, still, frames)
        with st.container(horizontal=True):
            for label, clip in {"still": still, "clip": frames, "still's z, clip's v": result}.items():
                st.image(write_clip(clip, "gif"), caption=label, width=160)
        with st.container(horizontal=True):
            for ending, kind in FORMATS.items():
                st.download_button(
                    ending.upper(), write_clip(result, ending), f"video.{ending}", kind, key=f"save_{ending}",
                    on_click="ignore", icon=":material/download:", type="tertiary",
                )  # fmt: skip


def choose_clip(model: Loaded) -> Tensor:
    """Let the visitor upload a clip, or take that of an example in turning colours; (T, C, H, W) in [-1, 1]."""
    columns = st.columns(2)
    last = model.n_examples - 1
    label = f"Built-in clip of example (0 to {last})"
    index = columns[0].number_input(label, 0, last, min(4, last), key="clip", bind=URL)
    upload = columns[1].file_uploader(
        "Your own in its place", CLIPS, key="clip_upload", max_upload_size=MEGABYTES,
        help=f"A clip of at most {MEGABYTES} MB; its first {FRAMES} frames are used.",
    )  # fmt: skip
    if upload is None:
        return turning_colors(model.example(index), BUILT_IN_FRAMES)
    return read_clip(upload.getvalue(), upload.name.rpartition(".")[2], *model.shape)


def converted(model: Loaded, still: Tensor, frames: Tensor) -> Tensor:
    """The frames with the still's representation, with a progress bar in the page."""
    networks = model.task.model, model.task.greybox.network, model.task.autoencoder.network
    bar, done = st.progress(0.0, "Converting …"), list[Tensor]()
    for start in range(0, len(frames), BATCH):
        with running(model):  # one batch at a time, so that other visitors get their turn
            done += transfer(*networks, still, frames[start : start + BATCH], BATCH)
        bar.progress(min(1.0, (start + BATCH) / len(frames)), "Converting …")
    bar.empty()
    return torch.cat(done)


def turning_colors(image: Tensor, n_frames: int) -> Tensor:
    """A clip of one image, (n_frames, C, H, W), whose colours turn once about the grey axis; grey ones slide."""
    if image.shape[1] != 3:
        return torch.cat([image.roll(t * image.shape[3] // n_frames, dims=3) for t in range(n_frames)])
    return torch.cat([torch.einsum("ij,bjhw->bihw", _turn(t / n_frames), image) for t in range(n_frames)]).clamp(-1, 1)


def _turn(share: float) -> Tensor:
    """The rotation of RGB about the grey axis by a share of a full turn (Rodrigues)."""
    angle, axis = 2 * math.pi * share, 1 / math.sqrt(3)
    cross = axis * torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return math.cos(angle) * torch.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) / 3 * torch.ones(3, 3)


if __name__ == "__main__":
    main()
