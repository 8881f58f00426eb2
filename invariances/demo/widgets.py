"""What the pages of the demo have in common: choice of model and images, pictures with a download, errors in a line.

The value of each widget stands in the URL, so that a page can be sent to others; uploads do not.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from io import BytesIO
from typing import Any, Final

import streamlit as st
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from invariances.data.pictures import BrokenPicture
from invariances.demo import released_models
from invariances.demo.data_browser import enlarged, reason
from invariances.demo.loading import Loaded, load
from invariances.demo.sources import Kind, Source, find_sources
from invariances.demo.uploads import MEGABYTES, PICTURES, keep_answers, read_picture
from invariances.errors import InvalidInput, UserError
from invariances.utils.download import listening
from invariances.utils.files import data_root
from invariances.utils.images import to_uint8
from invariances.zoo import zoo

WIDTH = 104  # of a picture on the screen: three side by side on a phone
ENLARGED = 256  # pixels that small pictures are enlarged to
SHEET = 720  # pixels that a sheet is at most enlarged to: about the width of a page
GAP = 2  # pixels between the images of a sheet
URL: Final = "query-params"
LAST: Final = 99  # as a default among layers: the one nearest to the output


@contextmanager
def page(title: str, text: str) -> Iterator[None]:
    """A page with its head; an error inside is shown in one sentence, and the page can be used on."""
    keep_answers()
    st.title(title, anchor=False)
    st.markdown(text)
    try:
        yield
    except (UserError, InvalidInput, BrokenPicture) as error:
        st.error(reason(UserError(str(error))))
    except torch.OutOfMemoryError:
        st.error("This does not fit into the memory: choose fewer samples or a smaller model.")
    except OverflowError:
        odd = [name for name, text in st.query_params.to_dict().items() if _is_number_beyond_all(text)]
        if not odd:
            raise
        st.error(f"The address of this page has an infinite {', '.join(odd)}: open it without.")


def _is_number_beyond_all(text: str) -> bool:
    """Whether a value of the address is infinite, over which Streamlit's widgets stumble."""
    with suppress(ValueError):
        return math.isinf(float(text))
    return False


def runs_given() -> tuple[str, ...]:
    """The runs that the command line names."""
    return tuple(sys.argv[1:])


def choose_source(kind: Kind, key: str = "", default: int = 0) -> Source:
    """Let the visitor choose a network and one of its layers.

    Args:
        kind: of models to choose from.
        key: distinguishes several choices on a page.
        default: index of the layer that is shown first.

    Raises:
        UserError: there is none.
    """
    sources = [source for source in find_sources(runs_given()) if source.kind == kind]
    if not sources:
        what = "conditional INN" if kind == "cinn" else "disentangling INN"
        raise UserError(f"there is no run of a {what} to show; train one, see README.md, or leave out the runs")
    networks = list(dict.fromkeys(source.network for source in sources))
    columns = [st, st] if key else st.columns(2)  # several choices stand side by side
    head = f"Network{key}".replace("_", " ")
    network = columns[0].selectbox(head, networks, key=f"network{key}", bind=URL) or networks[0]
    layers = labelled([source for source in sources if source.network == network])
    label = columns[1].selectbox(
        "Layer" if kind == "cinn" else "Model", list(layers), min(default, len(layers) - 1), key=f"layer{key}", bind=URL
    )
    return layers[label or next(iter(layers))]


def open_model(source: Source) -> Loaded:
    """The networks of a source; those of a released one are downloaded first, if the visitor wants them."""
    if source.released and (names := released_models.missing(source.name)):
        st.info(f"{', '.join(names)}: not on this machine yet. A download goes to {data_root() / 'zoo'}, once for all.")
        if not st.button("Download", key=f"download_{source.name}", icon=":material/download:"):
            st.stop()
        for name in names:
            download_model(name)
    return load(source)


def is_here(source: Source) -> bool:
    """Whether all files of a source are on this machine."""
    return not (source.released and released_models.missing(source.name))


def download_model(name: str) -> None:
    """Download an entry of the zoo, with its progress in the page."""
    bar = st.progress(0.0, f"{name} …")

    def listen(done: int, total: int) -> None:
        bar.progress(min(1.0, done / total) if total else 0.0, f"{name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

    try:
        with listening(listen):
            zoo.get(name)
    finally:
        bar.empty()


def labelled(sources: list[Source]) -> dict[str, Source]:
    """Sources of one network by their layers; of those of one layer, all but the first also by their names."""
    found: dict[str, Source] = {}
    for source in sources:
        found[source.layer if source.layer not in found else f"{source.layer} ({source.name})"] = source
    return found


def choose_image(model: Loaded, label: str = "Example", key: str = "example", default: int = 0) -> Tensor:
    """Let the visitor choose an example or upload a picture, (1, C, H, W) in [-1, 1].

    If the upload cannot be used, this is said, and the example is taken: a page that ended here would forget what was
    uploaded in the fields below.

    Raises:
        InvalidInput: there is no example.
    """
    channels, size = model.shape
    columns, last = st.columns(2), model.n_examples - 1
    index = columns[0].number_input(f"{label} (0 to {last})", 0, last, min(default, last), key=key, bind=URL)
    upload = columns[1].file_uploader(
        "Your own in its place", PICTURES, key=f"{key}_upload", max_upload_size=MEGABYTES,
        help=f"A picture of at most {MEGABYTES} MB. Its centre square is used, at {size} × {size} pixels.",
    )  # fmt: skip
    if model.problem:
        st.caption(f"The examples are photographs, as the images of the training cannot be opened: {model.problem}")
    if upload is not None:
        try:
            return read_picture(upload.getvalue(), channels, size)
        except (InvalidInput, BrokenPicture) as error:
            st.error(reason(UserError(f"{error}; the example is shown in its place")))
    return model.example(index)


def choose_seed() -> int:
    """Let the visitor draw new samples; the number repeats them."""
    columns = st.columns(2, vertical_alignment="bottom")
    columns[1].button("Draw new samples", on_click=_next_seed, width="stretch", key="resample")
    return int(columns[0].number_input("Seed", 0, 10**6, key="seed", bind=URL, help="One seed, one set of samples"))


def _next_seed() -> None:
    st.session_state["seed"] = (st.session_state.get("seed", 0) + 1) % 10**6


def show(pictures: Mapping[str, Tensor], name: str) -> None:
    """Show labelled images (1, C, H, W) in a row that wraps, with a download of all of them as one picture.

    Args:
        pictures: label -> image in [-1, 1].
        name: of the file, and of the button.
    """
    with st.container(horizontal=True, gap="xsmall"):
        for label, image in pictures.items():
            st.image(pixels(image), caption=label, width=WIDTH)
    download(sheet(torch.cat(list(pictures.values())), n_columns=len(pictures)), name)


def sheet(images: Tensor, n_columns: int) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] row by row in one picture, (4, h, w) in bytes: RGB and opacity.

    What is between them is transparent, so that it goes with any background.
    """
    rgb = to_uint8(images.expand(-1, 3, -1, -1))  # by itself, so that a NaN shows its colour
    opaque = torch.cat([rgb, torch.full_like(rgb[:, :1], 255)], dim=1)
    return make_grid(opaque, nrow=n_columns, padding=GAP)


def show_sheet(picture: Tensor, caption: str, name: str) -> None:
    """Show a `sheet` as wide as the page allows, with a download."""
    st.image(enlarged(picture, SHEET), caption=caption)
    download(picture, name)


def pixels(image: Tensor) -> Any:
    """An image (1, C, H, W) in [-1, 1] as an array (h, w, 3) of bytes, large enough for a screen."""
    return enlarged(to_uint8(image.expand(-1, 3, -1, -1))[0], ENLARGED)


def download(picture: Tensor, name: str) -> None:
    """A button that saves a `sheet`."""
    file = BytesIO()
    Image.fromarray(enlarged(picture, 1024)).save(file, format="PNG")
    st.download_button(
        "PNG", file.getvalue(), f"{name}.png", "image/png", key=f"save_{name}", on_click="ignore",
        icon=":material/download:", type="tertiary", help="Save these pictures as one file",
    )  # fmt: skip


def told(model: Loaded, image: Tensor) -> str:
    """What the classifier says of an image (1, C, H, W): the class and its probability; "" without a classifier."""
    if model.classifier is None:
        return ""
    logits = model.classifier(image)
    if logits.ndim != 2:
        return ""
    probability, number = logits.softmax(dim=1).max(dim=1)
    return f"{model.class_name(int(number))} ({probability.item():.0%})"


@contextmanager
def running(*models: Loaded) -> Iterator[None]:
    """Run networks without gradients, one visitor at a time for each model."""
    first, *others = models
    with first.lock, torch.no_grad(), others[0].lock if others else nullcontext():
        yield
