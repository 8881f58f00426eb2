"""Loggers of other services, one a file."""
