"""Configs of the older projects."""
