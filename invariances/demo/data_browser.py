"""The Streamlit page of `edexplore`: one data set, example by example.

`edexplore` starts it with these arguments: the JSON of {split: {"class": dotted path, argument: value}}, and the names
that are allowed, see `invariances.config.allowing`.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import streamlit as st
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from invariances.config.allowing import allow
from invariances.config.building import build_dataset
from invariances.errors import UserError
from invariances.utils.images import channels_first, from_uint8, grid, to_uint8

SHOWN = 256  # pixels on the screen that a small image is enlarged to
N_BARS = 1000  # values of a label that a histogram has room for
LONGEST = 300  # characters of a value that are shown as text
MAX_ASPECT = 1000  # long side to short side; anything longer, such as sound or a list of points, is no image


def main() -> None:
    """Draw the page."""
    splits = json.loads(sys.argv[1])
    allow(*sys.argv[2:])
    st.set_page_config(page_title="edexplore", layout="wide")
    split = st.sidebar.radio("Split", list(splits))
    st.title(splits[split]["class"].rpartition(".")[2])
    with shown_errors("The data set"):
        browse(open_dataset(split, json.dumps(splits[split])))


def browse(data: Any) -> None:
    """Draw all parts of the page; an error in one does not stop the others."""
    n_examples = len(data)
    with shown_errors("The summary"):
        show_summary(data)
    if n_examples == 0:
        st.info("This data set has no examples.")
        return
    index = int(st.sidebar.number_input("Example", 0, n_examples - 1, 0, help="counted from 0"))
    with shown_errors("The example"):
        show_example(data, index)
    with shown_errors("The grid"):
        show_grid(data, grid_indices(index, n_examples))
    with shown_errors("The histogram"):
        show_histogram(data)


@contextmanager
def shown_errors(part: str) -> Iterator[None]:
    """Show in one line why a part of the page could not be drawn, and continue after it."""
    try:
        yield
    except Exception as error:  # a user's own data set may raise anything and contain anything
        st.error(f"{part} cannot be shown: {reason(error)}")


def reason(error: Exception) -> str:
    """The first line of an error, with its type unless it is a mistake of the user."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return text.splitlines()[0]


@st.cache_resource(show_spinner="Opening the data set. The first time may take a while: see the terminal.")
def open_dataset(split: str, spec: str) -> Any:
    """Open the data set, once for all sessions."""
    return build_dataset({"datasets": {split: json.loads(spec)}}, split)


def show_summary(data: Any) -> None:
    """Show the first line of the docstring, the number of examples and the skipped files."""
    summary = ((type(data).__doc__ or "").strip() or type(data).__name__).splitlines()[0]
    st.caption(f"{summary} · {len(data):,} examples")
    if skipped := getattr(data, "skipped", []):
        st.warning(f"{len(skipped)} broken files are left out.")
        with st.expander("Broken files"):
            st.text("\n".join(map(as_text, skipped)))


def grid_indices(index: int, n_examples: int) -> list[int]:
    """Indices of the examples in the grid: those from `index` on, or some at regular distances."""
    n = int(st.sidebar.number_input("Examples in the grid", 1, 400, 36))
    if st.sidebar.toggle("Grid over the whole data set"):
        return sorted({i * n_examples // n for i in range(n)})
    return list(range(index, min(index + n, n_examples)))


def fetch(data: Any, index: int) -> tuple[dict[str, Any], str | None]:
    """Read one example as named values, or return the problem."""
    try:
        example = data[index]
        values = example if isinstance(example, Mapping) else {"example": example}
        return {as_text(name): value for name, value in values.items()}, None
    except Exception as error:  # as in `shown_errors`; the other examples of a grid are shown
        return {}, f"Example {index} cannot be read: {reason(error)}"


def show_example(data: Any, index: int) -> None:
    """Show the images of one example side by side, and a table of all its values."""
    st.header(f"Example {index}")
    with suppress(AttributeError, LookupError, TypeError):  # a user's own `files` may mean anything
        st.caption(as_text(data.files[index]))
    example, problem = fetch(data, index)
    if problem:
        st.error(problem)
        return
    images = {name: image for name, value in example.items() if (image := as_image(value)) is not None}
    for column, (name, image) in zip(st.columns(max(len(images), 2)), images.items(), strict=False):
        column.image(enlarged(to_uint8(image.expand(-1, 3, -1, -1))[0]), caption=name)
        if image.min() < -1 or image.max() > 1:
            column.warning(f"{name} goes from {image.min():.3g} to {image.max():.3g}; [-1, 1] is shown.")
    names = class_names(data)
    st.table([table_row(name, value, names) for name, value in example.items()])


def show_grid(data: Any, indices: list[int]) -> None:
    """Show many examples, one grid for each image that an example has."""
    st.header(f"Examples {indices[0]} to {indices[-1]}")
    fetched = [fetch(data, index) for index in indices]
    problems = [problem for _, problem in fetched if problem]
    if problems:
        st.warning(f"{len(problems)} of {len(fetched)} are missing here. {problems[0]}")
    rows: dict[str, list[Tensor]] = {}
    for example, _ in fetched:
        for name, value in example.items():
            if (image := as_image(value)) is not None:
                rows.setdefault(name, []).append(image)
    if not rows:
        st.info("These examples hold no images.")
        return
    for column, (name, images) in zip(st.columns(len(rows)), rows.items(), strict=True):
        column.image(enlarged(grid(at_one_size(images)).permute(2, 0, 1), 768), caption=name)


def show_histogram(data: Any) -> None:
    """Show how often each value of a label occurs."""
    st.header("Labels")
    labels = labels_of(data)
    if not labels:
        st.info("This data set has no labels.")
        return
    label = str(st.selectbox("Label", list(labels)))
    values, counts = np.unique(sortable(labels[label]), return_counts=True)
    if len(values) > N_BARS:
        st.info(f"{label} has {len(values):,} different values.")
        return
    names = class_names(data) if label == "class" else {}
    bars = [str(names.get(value, value)) for value in values.tolist()] if names else values.tolist()
    st.bar_chart({label: bars, "examples": counts}, x=label, y="examples")


def labels_of(data: Any) -> dict[str, Any]:
    """The labels of all examples by name; unnamed ones are called "labels"."""
    labels = getattr(data, "labels", None)
    if labels is None:
        return {}
    named = labels if isinstance(labels, Mapping) else {"labels": labels}
    return {as_text(name): values for name, values in named.items()}


def class_names(data: Any) -> dict[Any, str]:
    """Name of each class by its number; empty if `classes` is something else, such as their number."""
    classes = getattr(data, "classes", None)
    if not isinstance(classes, Mapping | Sequence | np.ndarray):
        return {}
    numbered = classes if isinstance(classes, Mapping) else dict(enumerate(classes))
    return {number: as_text(name) for number, name in numbered.items()}


def sortable(values: Any) -> np.ndarray:
    """A label of all examples as numbers, or as text if any value is no number."""
    array = as_array(values)
    return np.array([as_text(value) for value in values]) if array is None else array


def as_array(value: Any) -> np.ndarray | None:
    """Copy a tensor, array or list of numbers to a contiguous array of native byte order; None for anything else."""
    try:
        if isinstance(value, Tensor):
            is_half = value.is_floating_point() and value.itemsize < 4  # such as bfloat16, which numpy lacks
            value = (value.float() if is_half else value).numpy(force=True)
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError):  # a sparse or meta tensor, rows of different lengths
        return None
    native = array.dtype.newbyteorder("=")
    return np.array(array, native, order="C") if array.dtype.kind in "biufc" else None


def as_image(value: Any) -> Float[Tensor, "1 channels height width"] | None:
    """A value as an image, if it has three axes, one of them of 1 or 3 channels; or two axes, as grey."""
    array = as_array(value) if isinstance(value, Tensor | np.ndarray) else None
    if array is None or array.ndim not in (2, 3) or array.size == 0:
        return None
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        return None
    floats = torch.from_numpy(array.astype(np.float32))
    try:
        image = channels_first((floats if array.ndim == 3 else floats[None])[None])
    except ValueError:
        return None
    short, long = sorted(image.shape[2:])
    if short < 2 or long > MAX_ASPECT * short:
        return None
    return from_uint8(image.byte()) if array.dtype == np.uint8 else image


def enlarged(pixels: UInt8[Tensor, "channels height width"], side: int = SHOWN) -> UInt8[np.ndarray, "h w channels"]:
    """Enlarge a small picture by a whole factor, each pixel to a block, so that its long side is about `side`."""
    factor = max(1, side // max(pixels.shape[1:]))
    blocks = pixels.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
    return blocks.permute(1, 2, 0).numpy()


def at_one_size(images: Iterable[Tensor]) -> Float[Tensor, "n 3 height width"]:
    """Convert images to RGB and resize them to the size of the first."""
    rgb = [image.expand(-1, 3, -1, -1) for image in images]
    return torch.cat([interpolate(image, rgb[0].shape[-2:]) for image in rgb])


def table_row(name: str, value: Any, classes: Mapping[Any, str]) -> dict[str, str]:
    """A row of the table: dtype or type, shape and range of a value; the value itself if it is short or no array."""
    row = {"name": name, "kind": type(value).__name__, "shape": "", "range": "", "value": ""}
    array = as_array(value) if isinstance(value, Tensor | np.ndarray | np.generic) else None
    if array is None:
        return row | {"value": as_text(value)}
    kind = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else array.dtype.name
    row |= {"kind": kind, "shape": " × ".join(map(str, array.shape)) or "one number"}
    if array.size == 1:
        row["value"] = str(array.item())
        if name == "class" and array.item() in classes:
            row["value"] += f" ({classes[array.item()]})"
    elif array.size and array.dtype.kind in "biuf":
        row["range"] = f"{array.min():.6g} … {array.max():.6g}"
    return row


def as_text(value: Any) -> str:
    """Text of at most `LONGEST` characters; those that UTF-8 lacks, as in the names of some files, become "?"."""
    text = str(value).encode(errors="replace").decode()
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


if __name__ == "__main__":
    main()
