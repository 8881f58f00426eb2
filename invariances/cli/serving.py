"""Start the server of a page, for the commands that open one."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from invariances.errors import UserError


def port(text: str) -> int:
    """Parse the number of a port.

    Raises:
        ArgumentTypeError: it is outside 1 … 65535.
    """
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"got port {text}; expected 1 to 65535")
    return number


def serve(page: Path, arguments: Sequence[str], port: int | None) -> None:
    """Replace this process by the Streamlit server of a page, on this machine's own address.

    Args:
        page: its script.
        arguments: of the script.
        port: of the server; by default the first free one from 8501.

    Raises:
        UserError: Streamlit is missing.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("the page needs the package streamlit, which is missing: pip install streamlit")
    command = [sys.executable, "-m", "streamlit", "run", str(page)]
    settings = ["--server.address=localhost", "--browser.gatherUsageStats=false"]
    settings += ["--client.toolbarMode=minimal", "--server.fileWatcherType=none"]  # the watcher fails on torch
    settings += [f"--server.port={port}"] if port else []
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *settings, "--", *arguments])
