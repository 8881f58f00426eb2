"""Page: the representation of one image with the invariances of another, in a grid."""

import streamlit as st
import torch
from torch import Tensor

from invariances.analysis import mix
from invariances.demo.loading import Loaded
from invariances.demo.uploads import MEGABYTES, PICTURES, read_picture
from invariances.demo.widgets import GAP, LAST, URL, choose_source, open_model, page, running, sheet, show_sheet
from invariances.evaluation.metrics.predicted_class import predicted_class

MOST_UPLOADS = 4
TEXT = (
    "Each picture has the representation **z** of the image at the left of its row, and the invariances **v** of the "
    "image at the top of its column: what the layer knows comes from the left, all else from the top."
)


def main() -> None:
    """Draw the page."""
    with page("Mixing", TEXT):
        model = open_model(choose_source("cinn", default=LAST))
        images = choose_images(model)
        with running(model):
            mixed = mix(model.task.model, model.task.greybox.network, model.task.autoencoder.network, images, images)
            kept = share_kept(model, images, mixed)
        if kept is not None:
            st.markdown(f"For the network, **{kept:.0%}** of the mixed pictures have the class of their row.")
        show_sheet(with_heads(images, mixed), "rows share z, columns share v", "mixing")


def choose_images(model: Loaded) -> Tensor:
    """Let the visitor choose some examples, and add pictures; (n, C, H, W) in [-1, 1]."""
    columns = st.columns(2)
    n = columns[0].slider("Examples", 2, 8, 5, key="examples", bind=URL)
    last = model.n_examples - 1
    first = columns[1].number_input(f"From (0 to {last})", 0, last, 0, key="first", bind=URL)
    uploads = st.file_uploader(
        f"Your own beside them, at most {MOST_UPLOADS}", PICTURES, accept_multiple_files=True, key="uploads",
        max_upload_size=MEGABYTES,
    )  # fmt: skip
    pictures = [read_picture(upload.getvalue(), *model.shape) for upload in uploads[:MOST_UPLOADS]]
    return torch.cat([*(model.example(first + i) for i in range(n)), *pictures])


def share_kept(model: Loaded, images: Tensor, mixed: Tensor) -> float | None:
    """Share of the mixed images (rows, columns, …) with the class of their row; None without a classifier."""
    logits = model.classifier(torch.cat([images, mixed.flatten(0, 1)]))
    if logits.ndim != 2:
        return None
    classes = predicted_class(logits)
    return (classes[len(images) :].view(len(images), -1) == classes[: len(images), None]).float().mean().item()


def with_heads(images: Tensor, mixed: Tensor) -> Tensor:
    """A `sheet` of the grid with the images above its columns and left of its rows, and an empty corner."""
    corner = torch.zeros_like(images[:1, None])
    left = torch.cat([corner, images[:, None]])
    cells = torch.cat([left, torch.cat([images[None], mixed])], dim=1)
    picture = sheet(cells.flatten(0, 1), n_columns=len(images) + 1)
    picture[:, : GAP + images.shape[2], : GAP + images.shape[3]] = 0
    return picture


if __name__ == "__main__":
    main()
