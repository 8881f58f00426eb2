"""The page of `edexplore`; alone, as Streamlit puts the folder of its script on the import path."""
