"""Page: which properties of images the layers of a network keep, as a map; a click on a cell shows samples of it."""

import re
from pathlib import Path
from typing import Any

import altair as alt
import streamlit as st
import torch
from torch import Tensor

from invariances.analysis import attribute_values, in_order_of
from invariances.demo.loading import Loaded
from invariances.demo.sources import CONFIG_LIFETIME, Source, find_sources
from invariances.demo.widgets import (
    URL,
    choose_image,
    choose_seed,
    labelled,
    open_model,
    page,
    running,
    runs_given,
    show,
)
from invariances.errors import UserError
from invariances.evaluation.metrics.attributes import STATISTICS
from invariances.evaluation.metrics.predicted_class import predicted_class
from invariances.evaluation.report.attribute_map import MIN_CEILING, PREFIX, SHOWN, attribute_names
from invariances.evaluation.report.stored import StoredEvaluation, newest_first

N_OTHERS = 64  # examples whose values the samples' are compared with
ROW, HEAD = 34, 90  # pixels
PADDING = {"left": 0, "top": 5, "right": 16, "bottom": 5}  # pixels; at the right for the last of the slanted names
SPACED = "replace(datum.label, /_/g, ' ')"  # of Vega
CEILING = "reconstruction"
TEXT = (
    "Which part of a property's variance does each layer **keep**? 1: the mean of the samples "
    "is the value of their input. 0: it tells no more than the mean of all images. **Click on a cell** to see samples "
    "in the order of that property."
)
HOW = (
    "Last row: the same of the autoencoder's reconstructions. Grey: the autoencoder itself loses the "
    "property, so that nothing can be said about the layers. Below 0: farther off than the mean of all images."
)


def main() -> None:
    """Draw the page."""
    with page("What the layers keep", TEXT):
        layers = choose_study()
        rows = cells({source.layer: found.metrics for source, found in layers})
        show_map(rows)
        names = list(dict.fromkeys(row["attribute"] for row in rows))
        columns = st.columns(2)
        labels = [source.layer for source, _ in layers]
        layer = columns[0].selectbox("Layer", labels, key="layer", bind=URL) or labels[0]
        name = columns[1].selectbox("Property", names, key="attribute", bind=URL) or names[0]
        model = open_model(layers[labels.index(layer)][0])
        image = choose_image(model)
        n_samples = st.slider("Samples", 4, 20, 12, key="samples", bind=URL)
        show_samples(model, image, name, n_samples, choose_seed())


def choose_study() -> list[tuple[Source, StoredEvaluation]]:
    """Let the visitor choose a network; its layers with their numbers, in the order of depth.

    Raises:
        UserError: no layer of any network was measured.
    """
    sources = [source for source in find_sources(runs_given()) if source.kind == "cinn"]
    measured = {source: found for source in sources if (found := measured_attributes(str(source.path)))}
    if not measured:
        raise UserError("no run has the evaluation `attributes`; invariances study makes such runs, see README.md")
    networks = list(dict.fromkeys(source.network for source in measured))
    network = st.selectbox("Study", networks, key="network", bind=URL) or networks[0]
    of_network = labelled([source for source in measured if source.network == network])
    newest = [source for label, source in of_network.items() if label == source.layer]
    return sorted(((source, measured[source]) for source in newest), key=lambda layer: layer[1].depth)


@st.cache_data(ttl=CONFIG_LIFETIME, show_spinner=False)
def measured_attributes(folder: str) -> StoredEvaluation | None:
    """The newest evaluation in a folder that has numbers on attributes."""
    if not Path(folder).is_dir():
        return None
    return next((found for found in newest_first(Path(folder)) if attribute_names(found.metrics)), None)


def cells(layers: dict[str, dict[str, float | None]]) -> list[dict[str, Any]]:
    """The cells of the map, row by row; the last row is the mean over the layers of what reconstructions keep.

    Args:
        layers: name -> numbers of its evaluation, in the order of depth.

    Returns:
        dicts with `layer`, `attribute`, `kept` (None if it was not measured), `text`, and `known`: whether the
        autoencoder keeps enough of the attribute.
    """
    names = attribute_names(name for metrics in layers.values() for name in metrics)
    ceilings = {
        name: _mean([metrics.get(f"{PREFIX}{name}_autoencoder") for metrics in layers.values()]) for name in names
    }
    rows = {layer: {name: metrics.get(PREFIX + name + SHOWN) for name in names} for layer, metrics in layers.items()}
    return [
        _cell(layer, name, kept, ceilings[name])
        for layer, values in (*rows.items(), (CEILING, ceilings))
        for name, kept in values.items()
    ]


def _cell(layer: str, name: str, kept: float | None, ceiling: float | None) -> dict[str, Any]:
    known = kept is not None and ceiling is not None and ceiling >= MIN_CEILING
    text = "" if kept is None else _short(kept)
    return {"layer": layer, "attribute": name, "kept": kept, "text": text, "known": known}


def _short(kept: float) -> str:
    """A number that has room in a cell on a phone."""
    return f"{kept:.1f}" if kept <= -1 else re.sub(r"^(-?)0\.", r"\1.", f"{kept:.2f}")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def show_map(rows: list[dict[str, Any]]) -> None:
    """Show the map; a click on a cell chooses its layer and attribute."""
    clicked = alt.selection_point(name="cell", fields=["layer", "attribute"], toggle=False, empty=False)
    n_rows = len({row["layer"] for row in rows})
    plain: dict[str, Any] = {"labelFlush": False, "labelOverlap": False, "ticks": False, "domain": False}
    names = alt.Axis(orient="top", labelAngle=-60, labelExpr=SPACED, **plain)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("attribute:N", sort=None, title=None, axis=names),
        y=alt.Y("layer:N", sort=None, title=None, axis=alt.Axis(**plain)),
        tooltip=[alt.Tooltip(f"{field}:N") for field in ("layer", "attribute")] + [alt.Tooltip("kept:Q", format=".3f")],
    )
    scale = alt.Scale(scheme="viridis", domain=[0, 1], clamp=True)
    boxes = base.mark_rect(cursor="pointer", stroke="white", strokeWidth=1).encode(
        color=alt.condition("datum.known", alt.Color("kept:Q", scale=scale, legend=None), alt.value("#c9ccd4")),
    )
    dark = "!datum.known || datum.kept > 0.6"
    numbers = base.mark_text(cursor="pointer", fontSize=10).encode(
        text="text:N", color=alt.condition(dark, alt.value("#222"), alt.value("white"))
    )
    chart = (boxes + numbers).add_params(clicked).properties(height=ROW * n_rows + HEAD, padding=PADDING)
    st.altair_chart(chart, key="map", on_select=_choose_cell, selection_mode="cell")
    st.caption(HOW)


def _choose_cell() -> None:
    """Take over the cell that was clicked on; the row of reconstructions belongs to no layer."""
    for cell in st.session_state["map"]["selection"]["cell"]:
        st.session_state["attribute"] = cell["attribute"]
        if cell["layer"] != CEILING:
            st.session_state["layer"] = cell["layer"]


def show_samples(model: Loaded, image: Tensor, name: str, n_samples: int, seed: int) -> None:
    """Show an image and its samples in the order of an attribute, and how far it varies among them."""
    with running(model):
        views = dict(model.task.views(image, n_samples, torch.Generator().manual_seed(seed)))
        samples = torch.cat([view for label, view in views.items() if label.startswith("sample")])
        others = torch.cat([model.example(i) for i in range(min(N_OTHERS, model.n_examples))])
        if name not in STATISTICS and (name != "class" or model.classifier is None):
            raise UserError(f"{name} is a label of the data set, which samples do not have; choose another property")
        values = [measure(model, each, name) for each in (image, samples, others)]
    heading = f"Layer {model.task.facts()['layer']}: samples in the order of {name.replace('_', ' ')}"
    st.subheader(heading, anchor=False)
    show({f"input: {in_words(model, values[0][0], name)}": image}, "input")
    ordered, found = in_order_of(samples, values[1])
    show({f"{i + 1}: {in_words(model, value, name)}": ordered[i, None] for i, value in enumerate(found)}, f"by_{name}")
    st.markdown(f"{span(model, found, name, 'Samples')} {span(model, values[2], name, 'Examples of the data set')}")


def measure(model: Loaded, images: Tensor, name: str) -> Tensor:
    """The attribute of each image, (B,); of a class, the number of the predicted one."""
    if name in STATISTICS:
        return attribute_values(images, name)
    return predicted_class(model.classifier(images)).float()


def in_words(model: Loaded, value: Tensor, name: str) -> str:
    """A value of an attribute for people."""
    if value.isnan():
        return "none"
    if name == "class":
        return model.class_name(int(value))
    return f"{value:.0f}°" if name in ("hue", "orientation") else f"{value:.2f}"


def span(model: Loaded, values: Tensor, name: str, who: str) -> str:
    """A sentence on how far an attribute varies."""
    known = values[~values.isnan()]
    if len(known) == 0:
        return f"{who} have none."
    if name == "class":
        return f"{who} are of {len(known.unique())} class(es)."
    return f"{who} go from {in_words(model, known.min(), name)} to {in_words(model, known.max(), name)}."


if __name__ == "__main__":
    main()
