"""Page: what a layer sees in an image that was changed to mislead the network."""

import streamlit as st
import torch
from torch import Tensor

from invariances.analysis import fgsm, pgd, random_signs
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

LEVELS = 127.5  # levels of a byte in a change of 1 in [-1, 1]
TEXT = (
    "A change that people hardly see can change the network's mind. Samples from the representation of the "
    "**attacked** image show what the layer believes to see; **noise of the same size** is the control."
)


def main() -> None:
    """Draw the page."""
    with page("Adversarial attack", TEXT):
        model = open_model(choose_source("cinn", default=LAST))
        image = choose_image(model)
        columns = st.columns(2)
        method = columns[0].selectbox("Attack", ["FGSM, one step", "PGD, ten steps"], key="attack", bind=URL)
        epsilon = columns[1].slider("Size ε, in [-1, 1]", 0.0, 1.0, 0.15, 0.005, key="epsilon", bind=URL, format="%.3f")
        columns[1].caption(f"{epsilon * LEVELS:.1f} of 255 levels of a pixel")
        n_samples = st.slider("Samples", 4, 20, 6, key="samples", bind=URL)
        seed = choose_seed()
        for name, each in attacked(model, image, str(method).startswith("PGD"), epsilon, seed).items():
            show_version(model, name, each, n_samples, seed)


def attacked(model: Loaded, image: Tensor, stronger: bool, epsilon: float, seed: int) -> dict[str, Tensor]:
    """The image, its attacked version, and its noisy version."""
    network = model.task.greybox.network
    with running(model):
        attack = pgd(network, image, epsilon) if stronger else fgsm(network, image, epsilon)
    noisy = random_signs(image, epsilon, torch.Generator().manual_seed(seed))
    return {"original": image, "attacked": attack, "noise of the same size": noisy}


def show_version(model: Loaded, name: str, image: Tensor, n_samples: int, seed: int) -> None:
    """Show an image, its reconstruction and its samples, and what the network says of it."""
    with running(model):
        views = dict(model.task.views(image, n_samples, torch.Generator().manual_seed(seed)))
        verdict, again = told(model, image), told(model, views["reconstruction"])
    heading = f"{name.capitalize()}: taken for {verdict}" if verdict else name.capitalize()
    st.subheader(heading, anchor=False, divider="gray")
    if again:
        st.caption(f"Its reconstruction by the autoencoder is taken for {again}.")
    show({label: view for label, view in views.items() if label not in ("mean", "spread")}, name.replace(" ", "_"))


if __name__ == "__main__":
    main()
