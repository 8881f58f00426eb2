"""Page: two models side by side on an image in its own and in a foreign texture."""

import streamlit as st
import torch
from torch import Tensor

from invariances.analysis import with_texture_of
from invariances.demo.loading import Loaded
from invariances.demo.widgets import (
    LAST,
    URL,
    choose_image,
    choose_seed,
    choose_source,
    open_model,
    page,
    running,
    show,
    told,
)

TEXT = (
    "Does a network go by shape or by texture? An image, and the same shape in the **texture of another**, seen by "
    "two models. Where the samples of the second keep the shape, the layer holds the shape."
)
OWN = "Stylised version: upload my own"


def main() -> None:
    """Draw the page."""
    with page("Texture bias", TEXT):
        columns = st.columns(2)
        models = []
        for number, (column, default) in enumerate(zip(columns, (0, LAST), strict=True), start=1):
            with column:
                models.append(open_model(choose_source("cinn", f"_{number}", default)))
        inputs = choose_inputs(models[0])
        n_samples = st.slider("Samples", 4, 20, 4, key="samples", bind=URL)
        seed = choose_seed()
        for number, (column, model) in enumerate(zip(st.columns(2, gap="medium"), models, strict=True), start=1):
            with column:
                show_model(model, number, inputs, n_samples, seed)


def choose_inputs(model: Loaded) -> dict[str, Tensor]:
    """Let the visitor choose an image and the texture for its stylised version, or upload that version."""
    natural = choose_image(model)
    if st.toggle(OWN, key="own", bind=URL):
        return {"natural": natural, "stylised": choose_image(model, "Stylised image", "stylised", 5)}
    return {"natural": natural, "stylised": with_texture_of(natural, choose_image(model, "Texture", "texture", 5))}


def show_model(model: Loaded, number: int, inputs: dict[str, Tensor], n_samples: int, seed: int) -> None:
    """Show the samples of one model for each input."""
    st.subheader(f"{number}: layer {model.task.facts()['layer']}", anchor=False, divider="gray")
    for name, image in inputs.items():
        if tuple(image.shape[1:3]) != model.shape:
            st.warning("This model takes images of another size than the first; choose one of the same network.")
            return
        with running(model):
            views = dict(model.task.views(image, n_samples, torch.Generator().manual_seed(seed)))
            verdict = told(model, image)
        st.markdown(f"{name.capitalize()}: taken for **{verdict}**" if verdict else name.capitalize())
        show({label: view for label, view in views.items() if label not in ("mean", "spread")}, f"{name}_{number}")


if __name__ == "__main__":
    main()
