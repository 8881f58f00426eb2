"""Metrics, one file or folder each."""
