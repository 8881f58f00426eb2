import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import invariances
from invariances.cli import invariances as cli
from tests.cli.waiting import wait

PAGES = {"adversarial_attack": "Adversarial attack", "texture_bias": "Texture bias", "mixing_grid": "Mixing"}
PAGES |= {"video": "Video", "factor_sliders": "Factors"}


def started(monkeypatch, *words):
    commands = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    assert cli.main(["demo", *words]) == 0
    return commands[0]


def test_the_page_opens_on_runs_and_a_port(monkeypatch, tmp_path):
    (tmp_path / "run" / "configs").mkdir(parents=True)
    (tmp_path / "run" / "configs" / "2026-01-01T00-00-00-train.yaml").touch()
    command = started(monkeypatch, str(tmp_path / "run"), "--port", "9000")
    assert command[:4] == [sys.executable, "-m", "streamlit", "run"]
    assert Path(command[4]).name == "demo_visualization.py"
    assert "--server.port=9000" in command and command[-2:] == ["--", str(tmp_path / "run")]
    assert started(monkeypatch)[-1] == "--"


def test_a_run_that_does_not_exist_is_told_before_any_page(capsys):
    assert cli.main(["demo", "nowhere"]) == 2
    assert capsys.readouterr().err == "invariances: error: nowhere: no such run\n"


def pictures(folder):
    """One file of each odd kind; the last is broken."""
    kinds = {"grey": "L", "rgba": "RGBA", "cmyk": "CMYK", "deep": "I;16"}
    for name, mode in kinds.items():
        ending = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (40, 30)).save(folder / f"{name}.{ending}")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 20, 3), np.uint8)).save(folder / "turned.jpg", exif=exif)
    (folder / "broken.png").write_bytes(b"no picture")
    return sorted(path for path in folder.iterdir() if path.stem != "broken"), folder / "broken.png"


@pytest.mark.slow
def test_it_is_seen_in_a_browser(serve, browser, tmp_path, monkeypatch):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By

    monkeypatch.chdir(tmp_path)  # without runs
    root = Path(invariances.__file__).parents[1]
    address = serve("invariances", "demo", PYTHONPATH=str(root))

    def text():
        return browser.find_element(By.TAG_NAME, "body").text

    def images():
        return len(browser.find_elements(By.CSS_SELECTOR, "[data-testid=stImage] img"))

    def click(selector):
        wait(lambda: browser.find_element(By.XPATH, selector).click() or True, Exception)

    def seen(*texts, n_images=0):
        wait(lambda: all(each in text() for each in texts) and images() >= n_images, StaleElementReferenceException, 90)
        assert "Traceback" not in text()

    browser.get(address)
    seen("Layer conv1", "The network takes the input for", n_images=12)
    click("//button[contains(., 'Draw new samples')]")
    wait(lambda: "seed=1" in browser.current_url)
    browser.get(f"{address}/?layer=logits&samples=4")
    seen("Layer logits", n_images=8)

    whole, broken = pictures(tmp_path)
    click("//button[contains(., 'Upload in its place')]")
    for path in [*whole, broken, whole[0]]:
        wait(lambda: browser.find_elements(By.CSS_SELECTOR, "input[type=file]"))
        browser.find_elements(By.CSS_SELECTOR, "input[type=file]")[0].send_keys(str(path))
        seen(*(["cannot be read as a picture"] if path == broken else ["Layer logits"]))
        assert (path == broken) == ("cannot be read" in text())

    for name, title in PAGES.items():
        browser.get(f"{address}/{name}")
        seen(title, n_images=1)
    browser.get(f"{address}/adversarial_attack?layer=conv3")
    seen("Attacked:", "Noise of the same size:", n_images=24)

    clip = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), (80 * i, 0, 0)) for i in range(3)]
    frames[0].save(clip, "GIF", save_all=True, append_images=frames[1:])
    (tmp_path / "clip.gif").write_bytes(clip.getvalue())
    browser.get(f"{address}/video")
    seen("Video", "MP4", n_images=3)
    click("(//button[contains(., 'Upload in its place')])[2]")
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, "input[type=file]"))
    browser.find_elements(By.CSS_SELECTOR, "input[type=file]")[0].send_keys(str(tmp_path / "clip.gif"))
    seen("clip.gif", "MP4", n_images=3)
