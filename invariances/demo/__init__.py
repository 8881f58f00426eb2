"""Pages in the browser, one page a file.

A page is a Streamlit script, and Streamlit puts this folder on the import path: no page may have the name of a module
that others import.
"""
