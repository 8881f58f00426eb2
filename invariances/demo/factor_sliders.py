"""Page: the factors of a disentangling INN, exchanged one by one, and what a classifier makes of it."""

from typing import Any

import altair as alt
import streamlit as st
import torch
from torch import Tensor

from invariances.analysis import blend
from invariances.demo.loading import Loaded
from invariances.demo.widgets import (
    URL,
    choose_image,
    choose_seed,
    choose_source,
    open_model,
    page,
    running,
    sheet,
    show,
    show_sheet,
    told,
)
from invariances.evaluation.metrics.predicted_class import predicted_class
from invariances.evaluation.pictures.walks import Walks
from invariances.evaluation.replace_factor import replace_factor

N_STEPS = 7  # of a walk
BAR = 24  # pixels
N_DRAWS = 100  # of a factor, for the response of the classifier
TEXT = (
    "A disentangling INN splits the code of an image into **factors**. Move each of them from the image's own value "
    "(0) to that of a second image (1), and see what changes."
)


def main() -> None:
    """Draw the page."""
    with page("Factors", TEXT):
        model = open_model(choose_source("factors"))
        image = choose_image(model)
        donor = choose_image(model, "Second image", "second", 2)
        names = model.task.factor_names
        columns = st.columns(len(names))
        weights = {
            name: column.slider(name, 0.0, 1.0, 0.0, 0.05, key=f"factor_{name}", bind=URL)
            for name, column in zip(names, columns, strict=True)
        }
        seed = choose_seed()
        show_blend(model, image, donor, weights)
        show_swaps(model, image, donor)
        show_walks(model, image, seed)
        show_response(model, image, seed)


def show_blend(model: Loaded, image: Tensor, donor: Tensor, weights: dict[str, float]) -> None:
    """Show both images and the one with the factors of the sliders."""
    if model.classifier is not None:
        st.caption("Below each picture: the class that a classifier takes it for, and how sure it is.")
    with running(model):
        pictures = {"image": image, "second image": donor, "with the sliders": blend(model.task, image, donor, weights)}
        show({f"{label}: {told(model, each)}".rstrip(": "): each for label, each in pictures.items()}, "sliders")


def show_swaps(model: Loaded, image: Tensor, donor: Tensor) -> None:
    """Show the image with each one of its factors taken from the donor."""
    st.subheader("One factor from the second image", anchor=False, divider="gray")
    with running(model):
        swaps = {name: blend(model.task, image, donor, {name: 1.0}) for name in model.task.factor_names}
        show({f"{name}: {told(model, each)}".rstrip(": "): each for name, each in swaps.items()}, "swaps")


def show_walks(model: Loaded, image: Tensor, seed: int) -> None:
    """Show a random walk in each factor."""
    st.subheader("Random walks in one factor", anchor=False, divider="gray")
    with running(model):
        walks = Walks(n_images=1, n_steps=N_STEPS).walks(model.task, image, torch.Generator().manual_seed(seed))
    for name, images in walks.items():
        show_sheet(sheet(images, n_columns=N_STEPS), f"walk in {name}", f"walk_{name}")


def show_response(model: Loaded, image: Tensor, seed: int) -> None:
    """Show which classes are predicted when one factor is drawn at random."""
    if model.classifier is None:
        return
    st.subheader("Response of the classifier", anchor=False, divider="gray")
    st.caption(f"Share of each predicted class among {N_DRAWS} images in which one factor is drawn at random.")
    columns = st.columns(len(model.task.factor_names))
    with running(model):
        for k, (name, column) in enumerate(zip(model.task.factor_names, columns, strict=True)):
            column.markdown(name)
            column.altair_chart(bars(response(model, image, k, seed)))


def bars(rows: list[dict[str, Any]]) -> alt.Chart:
    """A bar for each class, on one scale for all factors."""
    share = alt.X("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(values=[0, 0.5, 1]))
    name = alt.Y("class:N", title=None, sort=None, axis=alt.Axis(labelFlush=False, labelOverlap=False))
    return alt.Chart(alt.Data(values=rows)).mark_bar().encode(x=share, y=name).properties(height=BAR * len(rows))


def response(model: Loaded, image: Tensor, k: int, seed: int) -> list[dict[str, Any]]:
    """Each `class` and its `share` among the predictions when the k-th factor is drawn from N(0, 1)."""
    factors = model.task.to_factors(model.task.code(image))
    drawn = torch.randn((N_DRAWS, *factors[k].shape[1:]), generator=torch.Generator().manual_seed(seed))
    logits = model.classifier(model.task.decode(model.task.to_code(replace_factor(factors, k, drawn))))
    shares = predicted_class(logits).bincount(minlength=logits.shape[1]) / N_DRAWS
    return [{"class": model.class_name(number), "share": share} for number, share in enumerate(shares.tolist())]


if __name__ == "__main__":
    main()
