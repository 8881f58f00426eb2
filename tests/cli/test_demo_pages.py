"""Every page of the demo on a real server in a real browser; both are started once."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import served
from tests.cli.visiting import Visitor
from tests.cli.waiting import wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory, browser):
    with served(tmp_path_factory.mktemp("server"), "invariances", "demo") as server:  # a folder without runs
        yield server


@pytest.fixture
def address(server):
    return server[0]


@pytest.fixture
def visitor(browser, address):
    visitor = Visitor(browser, address)
    yield visitor
    visitor.leave()


def test_another_layer_and_other_samples(visitor):
    visitor.open()
    visitor.sees("Layer conv1", "The network takes the input for", "Colour is kept", n_images=12)
    visitor.choose("Layer", "logits")
    visitor.sees("Layer logits", "Colour is not kept")
    first = visitor.images()
    visitor.press("Draw new samples")
    wait(lambda: "seed=1" in visitor.here.current_url and "layer=logits" in visitor.here.current_url, seconds=120)
    wait(lambda: set(visitor.images()) != set(first), Exception, 120)
    visitor.open("?layer=logits&samples=4")
    visitor.sees("Layer logits", n_images=8)


def test_the_first_page_is_found_by_its_name_too(visitor):
    visitor.open("representations?layer=logits&samples=4")
    visitor.sees("Representations and their invariances", "Layer logits", but=["Page not found"], n_images=8)


def pictures(folder):
    """One file of each odd kind, and one that is broken."""
    kinds = {
        "grey": ("L", 60), "rgba": ("RGBA", (200, 0, 0, 255)), "cmyk": ("CMYK", (200, 0, 0, 0)),
        "deep": ("I;16", 40000),
    }
    for name, (mode, color) in kinds.items():  # each another picture, since the page must change
        Image.new(mode, (40, 30), color).save(folder / f"{name}.{'jpg' if mode == 'CMYK' else 'png'}")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 20, 3), np.uint8)).save(folder / "turned.jpg", exif=exif)
    broken = folder / "broken.png"
    broken.write_bytes(b"no picture")
    return [path for path in sorted(folder.iterdir()) if path != broken], broken


def test_uploads_of_each_kind(visitor, tmp_path):
    whole, broken = pictures(tmp_path)
    visitor.open("?layer=logits&samples=4")
    visitor.sees("Layer logits", n_images=8)
    for path in [*whole, broken, whole[0]]:
        before = visitor.images()
        visitor.upload(path)
        if path == broken:
            visitor.sees("broken.png", "cannot be read as a picture")
        else:
            visitor.sees(path.name, "Layer logits", but=["cannot be read"], n_images=8)
            wait(lambda before=before: visitor.images() != before, Exception, 120)


def test_no_upload_is_lost_while_the_page_is_drawn_anew(visitor, tmp_path):
    visitor.open("?layer=logits&samples=4")
    visitor.sees("Layer logits", n_images=8)
    for number in range(20):
        Image.new("RGB", (40, 30), (10 * number, 0, 90)).save(tmp_path / f"{number}.png")
        visitor.upload(tmp_path / f"{number}.png")
        visitor.sees(f"{number}.png")  # at once the next one, into the drawing of this one


def test_an_attack(visitor):
    visitor.open("adversarial_attack?layer=logits&samples=4")
    visitor.sees("Original:", "Attacked:", "Noise of the same size:", n_images=18)
    before = visitor.images()
    visitor.choose("Attack", "PGD")
    wait(lambda: "attack=PGD" in visitor.here.current_url and visitor.images() != before, Exception, 120)
    visitor.sees("Attacked:", n_images=18)


def test_a_grid(visitor):
    visitor.open("mixing_grid?layer=conv3&examples=3")
    visitor.sees("of the mixed pictures have the class of their row", "rows share z, columns share v", n_images=1)
    assert visitor.find("//button[contains(., 'PNG')]")


def test_a_clip(visitor, tmp_path):
    frames = [Image.new("RGB", (32, 32), (80 * i, 0, 0)) for i in range(3)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])
    visitor.open("video")
    visitor.sees("Video", "MP4", n_images=3)
    before = visitor.images()
    visitor.upload(tmp_path / "clip.gif", field=2)
    visitor.sees("clip.gif", "MP4", n_images=3)
    wait(lambda: visitor.images()[1] != before[1], Exception, 120)


def test_textures_and_factors(visitor):
    visitor.open("texture_bias")
    visitor.sees("1: layer conv1", "2: layer logits", "Stylised: taken for", n_images=24)
    visitor.open("factor_sliders?factor_digit=1")
    visitor.sees("with the sliders", "One factor from the second image", "Response of the classifier", n_images=6)


def test_a_click_on_the_map_shows_samples_of_that_cell(visitor):
    from selenium.webdriver import ActionChains

    visitor.open("study_map?samples=4")
    visitor.sees("Layer conv1: samples in the order of brightness", n_images=5)

    def click():
        cell = visitor.find("svg.marks path[aria-label^='attribute: class; layer: logits']")[0]
        visitor.here.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
        ActionChains(visitor.here).move_to_element(cell).click().perform()
        wait(lambda: "layer=logits" in visitor.here.current_url, seconds=20)
        return True

    wait(click, Exception, 120)  # the chart may be drawn anew while it is clicked on
    visitor.sees("Layer logits: samples in the order of class", n_images=5)
    assert "layer=logits" in visitor.here.current_url and "attribute=class" in visitor.here.current_url


def test_two_visitors_keep_their_own_state(browser, address):
    first, second = Visitor(browser, address), Visitor(browser, address)
    first.open("?samples=4")
    second.open("?layer=logits&samples=5")
    second.sees("Layer logits", "Colour is not kept", n_images=9)
    first.sees("Layer conv1", "Colour is kept", n_images=8)
    second.press("Draw new samples")
    first.choose("Layer", "conv3")
    first.sees("Layer conv3")
    second.sees("Layer logits", n_images=9)
    wait(lambda: "seed=1" in second.here.current_url, seconds=120)
    assert "seed" not in first.here.current_url
    first.leave()
    second.leave()


def megabytes(server):
    """Memory of the server: the resident set."""
    pages = int(Path(f"/proc/{server[1].pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def resample(visitor):
    """Draw new samples; returns a function that waits for them."""
    before = set(visitor.images())
    visitor.press("Draw new samples")
    return lambda: wait(lambda: len(visitor.images()) >= 8 and before.isdisjoint(visitor.images()[:4]), Exception, 240)


def test_memory_does_not_grow_with_the_samples(visitor, server):
    visitor.open("?layer=logits&samples=4")
    visitor.sees("Layer logits", n_images=8)
    used = []
    for _ in range(50):
        resample(visitor)()
        used.append(megabytes(server))
    print("MB after each:", [round(each) for each in used])
    assert used[-1] - used[9] < 20  # 40 times four samples and their pictures


def test_eight_visitors_at_once_get_their_pictures(browser, address, server):
    visitors = [Visitor(browser, address) for _ in range(8)]
    layers = ["conv1", "conv3", "logits", "logits"] * 2
    for number, (visitor, layer) in enumerate(zip(visitors, layers, strict=True)):
        visitor.open(f"?layer={layer}&samples=4&example={number}")
    for visitor, layer in zip(visitors, layers, strict=True):
        visitor.sees(f"Layer {layer}", n_images=8)
    alone = megabytes(server)
    for waiting in [resample(visitor) for visitor in visitors]:
        waiting()
    print(f"MB before {alone:.0f}, after {megabytes(server):.0f}")
    assert megabytes(server) - alone < 100
    for visitor, layer in zip(visitors, layers, strict=True):
        visitor.sees(f"Layer {layer}")
        visitor.leave()
