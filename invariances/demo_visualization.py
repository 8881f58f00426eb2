"""The demo: what a network represents and what it is invariant to, in the browser.

    invariances demo [RUN …]
    streamlit run invariances/demo_visualization.py [RUN …]

Without runs it shows the models that ship with the package, all runs and studies below logs/ and studies/, and released
models. Each page is a file in `demo/`.
"""

import sys
from pathlib import Path

import streamlit as st

PAGES = {
    "representations": ("Representations", ":material/visibility:"),
    "adversarial_attack": ("Attack", ":material/bolt:"),
    "texture_bias": ("Texture bias", ":material/texture:"),
    "mixing_grid": ("Mixing", ":material/grid_on:"),
    "video": ("Video", ":material/movie:"),
    "factor_sliders": ("Factors", ":material/tune:"),
    "study_map": ("Study", ":material/table_chart:"),
}


def main() -> None:
    """Show the page that the URL names."""
    here = Path(__file__).parent
    # Streamlit puts this folder on the import path, where `data` or `utils` would hide modules of these names
    sys.path[:] = [path for path in sys.path if Path(path) != here]
    st.set_page_config(page_title="invariances", page_icon=":material/visibility:", layout="centered")
    pages = [
        st.Page(here / "demo" / f"{name}.py", title=title, icon=icon, url_path=name, default=number == 0)
        for number, (name, (title, icon)) in enumerate(PAGES.items())
    ]
    st.navigation(pages, position="top").run()


if __name__ == "__main__":
    main()
