"""Page: what a layer represents, and what it is invariant to."""

from dataclasses import dataclass

import streamlit as st
import torch
from torch import Tensor

from invariances.analysis import Agreement, agreement
from invariances.demo.loading import Loaded, load
from invariances.demo.sources import Source, find_sources
from invariances.demo.widgets import (
    URL,
    choose_image,
    choose_seed,
    choose_source,
    is_here,
    labelled,
    open_model,
    page,
    running,
    runs_given,
    show,
    told,
)

N_OTHERS = 16  # examples that the samples are compared with
MOST_LAYERS = 8  # side by side
TEXT = (
    "Every sample below has, as far as its maker can tell, the **same representation** as the input: what stays is "
    "what the layer knows, what changes is what it has learned to ignore."
)


@dataclass(frozen=True)
class Samples:
    """Pictures of one image at one layer, label -> (1, C, H, W), and how well they agree with it."""

    views: dict[str, Tensor]
    agreement: dict[str, Agreement]

    @property
    def drawn(self) -> dict[str, Tensor]:
        """The samples alone."""
        return {label: view for label, view in self.views.items() if label.startswith("sample")}


def main() -> None:
    """Draw the page."""
    with page("Representations and their invariances", TEXT):
        source = choose_source("cinn")
        model = open_model(source)
        image = choose_image(model)
        n_samples = st.slider("Samples", 4, 20, 8, key="samples", bind=URL)
        seed = choose_seed()
        show_layer(model, image, n_samples, seed)
        if st.toggle("All layers of this network side by side", key="all_layers", bind=URL):
            show_all_layers(source, image, n_samples, seed)


def show_layer(model: Loaded, image: Tensor, n_samples: int, seed: int) -> None:
    """Show the samples of a layer, and their agreement with the input."""
    found = draw(model, image, n_samples, seed)
    st.subheader(f"Layer {model.task.facts()['layer']}", anchor=False)
    show(found.drawn, "samples")
    show({label: view for label, view in found.views.items() if label not in found.drawn}, "input_mean_spread")
    st.caption("Mean and spread are of the samples. The spread, their standard deviation, is black where they agree.")
    with running(model):
        verdict = told(model, image)
    st.markdown(in_words(found.agreement, len(found.drawn), verdict))
    st.table(table(found.agreement))


def draw(model: Loaded, image: Tensor, n_samples: int, seed: int) -> Samples:
    """The pictures of an image at a layer; one seed gives one set of samples."""
    with running(model):
        views = dict(model.task.views(image, n_samples, torch.Generator().manual_seed(seed)))
        drawn = [view for label, view in views.items() if label.startswith("sample")]
        sets = {"samples": torch.cat(drawn), "reconstruction": views["reconstruction"]}
        sets["other examples"] = torch.cat([model.example(i) for i in range(min(N_OTHERS, model.n_examples))])
        return Samples(views, agreement(model.task.greybox.network, image, sets))


def in_words(found: dict[str, Agreement], n: int, verdict: str) -> str:
    """The agreement of samples with their input as sentences."""
    samples, sentences = found["samples"], []
    if samples.same_class is not None and verdict:
        kept = round(samples.same_class * n)
        sentences.append(f"The network takes the input for **{verdict}**, and **{kept} of {n}** samples for the same.")
    best = found["reconstruction"].cosine
    sentence = f"To the layer they are **{samples.cosine:.3f}** similar to the input (1 is identical); "
    sentence += f"the autoencoder alone reaches {best:.3f}, other examples {found['other examples'].cosine:.3f}."
    sentences.append(sentence)
    if samples.same_hue is not None:
        word = "kept" if samples.same_hue > 0.9 else "partly kept" if samples.same_hue > 0.4 else "not kept"
        sentences.append(f"Colour is **{word}** ({samples.same_hue:.2f}; 1 is the same hue, 0 any hue).")
    return " ".join(sentences)


def table(found: dict[str, Agreement]) -> list[dict[str, str]]:
    """A row for each set of images."""
    return [
        {
            "compared with the input": name,
            "similarity to the layer (cosine)": f"{each.cosine:.3f}",
            "same class": "–" if each.same_class is None else f"{each.same_class:.0%}",
            "same hue": "–" if each.same_hue is None else f"{each.same_hue:.2f}",
        }
        for name, each in found.items()
    ]


def show_all_layers(source: Source, image: Tensor, n_samples: int, seed: int) -> None:
    """Show a row of samples for each layer of the network, from input to output."""
    others = [each for each in find_sources(runs_given()) if (each.kind, each.network) == (source.kind, source.network)]
    newest = [each for label, each in labelled(others).items() if label == each.layer and is_here(each)]
    models = sorted(map(load, newest[:MOST_LAYERS]), key=lambda model: model.task.facts()["depth"])
    for model in (model for model in models if model.shape == tuple(image.shape[1:3])):
        layer = model.task.facts()["layer"]
        st.subheader(f"{layer}", anchor=False, divider="gray")
        found = draw(model, image, n_samples, seed)
        show(found.drawn, f"samples_{layer}")
        samples = found.agreement["samples"]
        same = "" if samples.same_class is None else f", same class {samples.same_class:.0%}"
        st.caption(f"similarity {samples.cosine:.3f}{same}")


if __name__ == "__main__":
    main()
