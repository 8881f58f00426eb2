"""A real browser, and servers for it."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import invariances
from tests.cli.waiting import wait

ROOT = str(Path(invariances.__file__).parents[1])


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs the browser Chromium and chromedriver (Debian: chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
        *(
            "disable-background-networking",
            "disable-component-update",
            f"user-data-dir={tmp_path_factory.mktemp('profile')}",
        ),
    ):
        options.add_argument(f"--{flag}")
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def serve(tmp_path):
    """`served` in a folder of this test."""
    with ExitStack() as servers:
        yield lambda *words, **environment: servers.enter_context(served(tmp_path, *words, **environment))[0]


@contextmanager
def served(folder, command, *words, **environment):
    """Address and process of the page that a command opens; its output goes to `log.txt` in the folder."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", f"invariances.cli.{command}", *words, "--port", str(port)]
    environment = {**os.environ, "STREAMLIT_SERVER_HEADLESS": "true", "PYTHONPATH": ROOT, **environment}
    with open(folder / "log.txt", "w") as log:
        server = subprocess.Popen(line, stdout=log, stderr=log, env=environment, cwd=folder)
        try:
            address = f"http://localhost:{port}"
            wait(lambda: urllib.request.urlopen(f"{address}/_stcore/health").status == 200, OSError, 120)
            yield address, server
        finally:
            server.terminate()
            server.wait()
    assert "Traceback" not in (folder / "log.txt").read_text()
