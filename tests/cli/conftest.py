"""A real browser, and servers for it."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.cli.waiting import wait


@pytest.fixture
def browser(tmp_path):
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
            f"user-data-dir={tmp_path / 'profile'}",
        ),
    ):
        options.add_argument(f"--{flag}")
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def serve(tmp_path):
    """Start a command that opens a page, and give the page's address."""
    servers, file = [], tmp_path / "log.txt"

    def start(command, *words, **environment):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        line = [sys.executable, "-m", f"invariances.cli.{command}", *words, "--port", str(port)]
        log = open(file, "w")  # noqa: SIM115 (the server writes on)
        environment = {**os.environ, "STREAMLIT_SERVER_HEADLESS": "true", **environment}
        servers.append(subprocess.Popen(line, stdout=log, stderr=log, env=environment))
        address = f"http://localhost:{port}"
        wait(lambda: urllib.request.urlopen(f"{address}/_stcore/health").status == 200, OSError)
        return address

    yield start
    for server in servers:
        server.terminate()
        server.wait()
    assert not servers or "Traceback" not in file.read_text()  # none was started if the browser is missing
