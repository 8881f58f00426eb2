"""The Streamlit page of `edexplore`: one data set, example by example.

`edexplore` starts it with one argument: the JSON of {split: {"class": dotted path, argument: value}}.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import streamlit as st
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from invariances.config import build_dataset
from invariances.errors import UserError
from invariances.images import channels_first, from_uint8, grid, to_uint8

SHOWN = 256  # pixels on the screen that a small image is enlarged to
N_BARS = 1000  # values of a label that a histogram has room for
LONGEST = 300  # letters of a value that are shown as text


def main() -> None:
    """Draw the page."""
    splits = json.loads(sys.argv[1])
    st.set_page_config(page_title="edexplore", layout="wide")
    split = st.sidebar.radio("Split", list(splits))
    st.title(splits[split]["class"].rpartition(".")[2])
    try:
        data = opened(split, json.dumps(splits[split]))
    except (UserError, OSError, ValueError) as error:
        st.error(str(error))
        return
    show_summary(data)
    if len(data) == 0:
        st.info("This data set has no examples.")
        return
    index = int(st.sidebar.number_input("Example", 0, len(data) - 1, 0, help="counted from 0"))
    show_example(data, index)
    show_grid(data, chosen(index, len(data)))
    show_histogram(getattr(data, "labels", {}), getattr(data, "classes", None))


@st.cache_resource(show_spinner="Opening the data set. The first time may take a while: see the terminal.")
def opened(split: str, spec: str) -> Any:
    """The data set, opened once for all visitors."""
    return build_dataset({"datasets": {split: json.loads(spec)}}, split)


def show_summary(data: Any) -> None:
    """First line of the docstring, number of examples, files that were left out."""
    summary = (type(data).__doc__ or type(data).__name__).strip().splitlines()[0]
    st.caption(f"{summary} · {len(data):,} examples")
    if skipped := getattr(data, "skipped", []):
        st.warning(f"{len(skipped)} broken files are left out.")
        with st.expander("Broken files"):
            st.text("\n".join(skipped))


def chosen(index: int, n_examples: int) -> list[int]:
    """Which examples the grid shows: those from `index` on, or some from everywhere."""
    n = int(st.sidebar.number_input("Examples in the grid", 1, 400, 36))
    if st.sidebar.toggle("Grid over the whole data set"):
        return sorted({i * n_examples // n for i in range(n)})
    return list(range(index, min(index + n, n_examples)))


def fetch(data: Any, index: int) -> tuple[dict[str, Any], str | None]:
    """The example as named values, and what went wrong if it cannot be had."""
    try:
        example = data[index]
    except Exception as error:  # a person's own data set may raise anything; the page goes on
        return {}, f"Example {index} cannot be had: {type(error).__name__}: {error}"
    return dict(example) if isinstance(example, Mapping) else {"example": example}, None


def show_example(data: Any, index: int) -> None:
    """Its images side by side, and a table of everything in it."""
    st.header(f"Example {index}")
    if files := getattr(data, "files", []):
        st.caption(files[index])
    example, problem = fetch(data, index)
    if problem:
        st.error(problem)
        return
    images = {name: image for name, value in example.items() if (image := as_image(value)) is not None}
    for column, (name, image) in zip(st.columns(max(len(images), 2)), images.items(), strict=False):
        column.image(enlarged(to_uint8(image.expand(-1, 3, -1, -1))[0]), caption=name)
        if image.min() < -1 or image.max() > 1:
            column.warning(f"{name} goes from {image.min():.3g} to {image.max():.3g}; [-1, 1] is shown.")
    st.table([described(name, value, getattr(data, "classes", None)) for name, value in example.items()])


def show_grid(data: Any, indices: list[int]) -> None:
    """Many examples, one picture for each image that an example has."""
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
        column.image(enlarged(grid(of_one_size(images)).permute(2, 0, 1), 768), caption=name)


def show_histogram(labels: Mapping[str, Any], classes: list[str] | None) -> None:
    """How often each value of a label occurs."""
    st.header("Labels")
    if not labels:
        st.info("This data set has no labels.")
        return
    name = str(st.selectbox("Label", list(labels)))
    values, counts = np.unique(np.asarray(labels[name]), return_counts=True)
    if len(values) > N_BARS:
        st.info(f"{name} has {len(values):,} different values.")
        return
    names = [classes[value] for value in values] if name == "class" and classes else values.tolist()
    st.bar_chart({name: names, "examples": counts}, x=name, y="examples")


def as_image(value: Any) -> Float[Tensor, "1 channels height width"] | None:
    """A value as an image, if it looks like one: three axes, one of them of 1 or 3 channels; or grey, two."""
    if not isinstance(value, Tensor | np.ndarray) or value.ndim not in (2, 3) or min(value.shape) == 0:
        return None
    tensor = torch.as_tensor(value)
    if not (tensor.is_floating_point() or tensor.dtype == torch.uint8):
        return None
    try:
        image = channels_first((tensor if tensor.ndim == 3 else tensor[None])[None].float())
    except ValueError:
        return None
    if min(image.shape[2:]) < 2:
        return None
    return from_uint8(image.byte()) if tensor.dtype == torch.uint8 else image


def enlarged(pixels: UInt8[Tensor, "3 height width"], wanted: int = SHOWN) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, each pixel as a block, about `wanted` wide if it is smaller."""
    factor = max(1, wanted // pixels.shape[2])
    blocks = pixels.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
    return blocks.permute(1, 2, 0).numpy()


def of_one_size(images: Iterable[Tensor]) -> Float[Tensor, "n 3 height width"]:
    """RGB images, resized to the size of the first."""
    rgb = [image.expand(-1, 3, -1, -1) for image in images]
    return torch.cat([interpolate(image, rgb[0].shape[-2:]) for image in rgb])


def described(name: str, value: Any, classes: list[str] | None = None) -> dict[str, str]:
    """A row of the table: what a value is, its shape and range; the value itself if it is short."""
    row = {"name": name, "kind": type(value).__name__, "shape": "", "range": "", "value": ""}
    if not isinstance(value, Tensor | np.ndarray | np.generic):
        return row | {"value": shortened(str(value))}
    array = np.asarray(value)
    row |= {"kind": str(array.dtype), "shape": " × ".join(map(str, array.shape)) or "one number"}
    if array.size == 1:
        row["value"] = str(array.item())
        if name == "class" and classes:
            row["value"] += f" ({classes[array.item()]})"
    elif array.size and array.dtype.kind in "biuf":
        row["range"] = f"{array.min():.6g} … {array.max():.6g}"
    return row


def shortened(text: str) -> str:
    """Text of at most `LONGEST` letters."""
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


if __name__ == "__main__":
    main()
