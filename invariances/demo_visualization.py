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
    files = {name: here / "demo" / f"{name}.py" for name in PAGES}
    first, *others = PAGES
    # Streamlit serves its default page at / alone: a hidden twin is there for those who type the page's name
    start = st.Page(files[first], title=PAGES[first][0], icon=PAGES[first][1], url_path="start", default=True)
    twin = st.Page(files[first], title=PAGES[first][0], url_path=first, visibility="hidden")
    pages = [st.Page(files[name], title=PAGES[name][0], icon=PAGES[name][1], url_path=name) for name in others]
    st.navigation([start, *pages, twin], position="top").run()


if __name__ == "__main__":
    main()
