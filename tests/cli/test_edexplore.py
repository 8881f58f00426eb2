import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from invariances.cli import edexplore
from invariances.cli.explore import page
from tests.data.stand_ins import write_mnist, write_picture

MODULE = '''
import torch

class List:
    def __init__(self, n: int = 0):
        self.items = [self.item(i) for i in range(n)]
    def __len__(self):
        return len(self.items)
    def __getitem__(self, i):
        return self.items[i]

class Odd(List):
    """Values of every kind."""
    def item(self, i):
        texts = {"name": f"number {i}", "nothing": None, "list": [1, 2], "object": object()}
        images = {"bright": torch.full((3, 8, 8), 1.5), "bytes": torch.zeros(8, 8, 3, dtype=torch.uint8)}
        vectors = {"empty": torch.zeros(0), "latent": torch.zeros(140, 1, 1)}
        return {**texts, **images, **vectors, "long": "x" * 999}

class Single(List):
    def item(self, i):
        return torch.arange(5)

class Sizes(List):
    def item(self, i):
        return {"image": torch.zeros(1, 8 + i, 8)}

class Raising(List):
    def item(self, i):
        return {"image": torch.zeros(3, 8, 8)}
    def __getitem__(self, i):
        if i % 2:
            raise RuntimeError(f"number {i} is lost")
        return super().__getitem__(i)

class Refusing(List):
    def __init__(self):
        raise ValueError("no such data")
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of one's own module, exploring.py, to work in."""
    (tmp_path / "exploring.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("exploring", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def started(monkeypatch, *words):
    """What a command would open: the page's argument, and the settings of the server."""
    commands = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    assert edexplore.main(list(words)) == 0
    (command,) = commands
    return json.loads(command[-1]), command


def refused(capsys, *words):
    assert edexplore.main(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("edexplore: error: ")
    return line


def test_a_data_set_opens_with_the_splits_beside_it(monkeypatch):
    splits, command = started(monkeypatch, "--dataset", "invariances.data.ImageNetValidation", "--size", "64")
    assert splits == {
        "validation": {"class": "invariances.data.ImageNetValidation", "size": 64},
        "train": {"class": "invariances.data.ImageNetTrain", "size": 64},
    }
    assert command[:4] == [sys.executable, "-m", "streamlit", "run"] and os.path.exists(command[4])


def test_the_other_splits_get_the_arguments_that_they_take(monkeypatch):
    splits, _ = started(
        monkeypatch, "--dataset", "invariances.data.DigitsTrain", "--seed=3", "--port", "9000"
    )
    assert splits["train"]["seed"] == 3 and splits["test"] == {"class": "invariances.data.DigitsTest"}


def test_a_port_may_be_given(monkeypatch):
    _, command = started(monkeypatch, "--dataset", "invariances.data.DigitsTrain", "--port", "9000")
    assert "--server.port=9000" in command


def test_a_config_opens_with_its_splits(monkeypatch, here):
    (here / "a.yaml").write_text(
        "model: nothing.of.Interest\ndatasets:\n  train: invariances.data.DigitsTrain\n"
        "  validation: {class: invariances.data.DigitsTest, size: 8}"
    )
    splits, _ = started(monkeypatch, "-b", "a.yaml", "--datasets/train/size", "16")
    assert splits == {
        "train": {"class": "invariances.data.DigitsTrain", "size": 16},
        "validation": {"class": "invariances.data.DigitsTest", "size": 8},
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--dataset -b/--base is required"),
        (["--dataset", "invariances.data.MNISTTrian"], "did you mean MNISTTrain?"),
        (["--dataset", "invariances.date.X"], "--dataset: no module named invariances.date"),
        (["--dataset", "json.JSONDecoder"], "is no data set"),
        (["--dataset", "invariances.data.DigitsTrain", "--sise", "8"], "size"),
        (["--dataset", "invariances.data.DigitsTrain", "--size", "big"], "size"),
        (["--dataset", "invariances.data.DigitsTrain", "--size"], "--size: has no value"),
        (["--dataset", "invariances.data.DigitsTrain", "stray"], "stray: stray word"),
        (["--dataset", "invariances.data.Folder"], "folder"),
        (["-b", "nowhere.yaml"], "nowhere.yaml"),
        (["--dataset", "a.B", "-b", "a.yaml"], "not allowed with"),
        (["--dataset", "invariances.data.DigitsTrain", "--port", "x"], "--port"),
    ],
)
def test_mistakes_are_one_line_before_any_page(capsys, here, words, message):
    assert message in refused(capsys, *words)


def test_a_config_without_data_sets_is_refused(capsys, here):
    (here / "a.yaml").write_text("batch_size: 3")
    assert "a.yaml: no data sets" in refused(capsys, "-b", "a.yaml")


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as end:
        edexplore.main(["--help"])
    assert (
        end.value.code == 0 and "edexplore --dataset invariances.data.MNISTTrain" in capsys.readouterr().out
    )


def opened(monkeypatch, **splits):
    """The page, run without a browser."""
    monkeypatch.setattr(sys, "argv", ["page.py", json.dumps(splits)])
    app = AppTest.from_file(str(edexplore.PAGE), default_timeout=30).run()
    assert not app.exception
    return app


def table(app):
    return {row["name"]: row for row in app.table[0].value.to_dict("records")}


def test_the_page_of_pairs(monkeypatch):
    app = opened(
        monkeypatch,
        train={"class": "invariances.data.ColorfulDigitsPairsTrain"},
        test={"class": "invariances.data.ColorfulDigitsPairsTest"},
    )
    assert app.title[0].value == "ColorfulDigitsPairsTrain" and "1,500 examples" in app.caption[0].value
    assert app.selectbox[0].value == "class"
    rows = table(app)
    assert rows["example1"]["shape"] == "3 × 32 × 32" and rows["factor"]["value"] in ("0", "1")
    app.sidebar.radio[0].set_value("test").run()
    app.sidebar.number_input[0].set_value(296).run()
    assert not app.exception and app.title[0].value == "ColorfulDigitsPairsTest"
    assert [header.value for header in app.header] == ["Example 296", "Examples 296 to 296", "Labels"]


def test_the_grid_may_go_over_the_whole_data_set(monkeypatch):
    app = opened(monkeypatch, test={"class": "invariances.data.DigitsTest"})
    assert app.header[1].value == "Examples 0 to 35"
    app.sidebar.toggle[0].set_value(True).run()
    assert not app.exception and app.header[1].value == "Examples 0 to 288"


def test_the_page_of_a_folder(monkeypatch, tmp_path):
    for name in ("cat/1.png", "dog/2.png"):
        write_picture(tmp_path / "in" / name)
    (tmp_path / "in" / "cat" / "0.png").touch()
    spec = {"folder": str(tmp_path / "in"), "root": str(tmp_path), "on_error": "skip"}
    app = opened(monkeypatch, examples={"class": "invariances.data.LabelFolder", **spec})
    assert "1 broken files are left out" in app.warning[0].value and "0.png" in app.text[0].value
    assert app.caption[1].value.endswith("cat/1.png") and table(app)["class"]["value"] == "0 (cat)"


def test_values_of_unknown_kinds_are_shown_as_text(monkeypatch, here):
    app = opened(monkeypatch, examples={"class": "exploring.Odd", "n": 2})
    rows = table(app)
    assert rows["name"]["value"] == "number 0" and rows["nothing"]["value"] == "None"
    assert rows["list"]["value"] == "[1, 2]" and rows["object"]["value"].startswith("<object")
    assert len(rows["long"]["value"]) < 400 and rows["empty"]["shape"] == "0"
    assert "bright goes from 1.5 to 1.5" in app.warning[0].value
    assert "This data set has no labels." in [info.value for info in app.info]


@pytest.mark.parametrize(("name", "n"), [("Single", 3), ("Sizes", 3), ("Odd", 1), ("Raising", 1)])
def test_other_data_sets_have_a_page(monkeypatch, here, name, n):
    app = opened(monkeypatch, examples={"class": f"exploring.{name}", "n": n})
    assert app.header[0].value == "Example 0" and not app.error


def test_a_data_set_without_examples(monkeypatch, here):
    app = opened(monkeypatch, examples={"class": "exploring.Odd"})
    assert [info.value for info in app.info] == ["This data set has no examples."]


def test_an_item_that_raises_leaves_the_page_usable(monkeypatch, here):
    app = opened(monkeypatch, examples={"class": "exploring.Raising", "n": 4})
    assert "2 of 4 are missing here. Example 1 cannot be had" in app.warning[0].value
    app.sidebar.number_input[0].set_value(1).run()
    assert app.error[0].value == "Example 1 cannot be had: RuntimeError: number 1 is lost"
    app.sidebar.number_input[0].set_value(2).run()
    assert not app.error and not app.exception


def test_a_data_set_that_cannot_be_opened_is_told(monkeypatch, here):
    app = opened(monkeypatch, examples={"class": "exploring.Refusing"})
    assert "no such data" in app.error[0].value


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (torch.zeros(3, 8, 9), (1, 3, 8, 9)),
        (torch.zeros(8, 9, 3), (1, 3, 8, 9)),
        (np.zeros((8, 9, 1)), (1, 1, 8, 9)),
        (torch.zeros(8, 9), (1, 1, 8, 9)),
        (torch.zeros(3, 8, 9, dtype=torch.uint8), (1, 3, 8, 9)),
    ],
)
def test_what_looks_like_an_image_is_one(value, shape):
    image = page.as_image(value)
    assert image.shape == shape and image.dtype == torch.float32


@pytest.mark.parametrize(
    "value",
    [
        *(
            "text",
            None,
            [1.0],
            torch.tensor(1.0),
            torch.zeros(5),
            torch.zeros(140, 1, 1),
            torch.zeros(4, 8, 9),
        ),
        *(torch.zeros(3, 8, 9, dtype=torch.int64), torch.zeros(0, 8, 8), torch.zeros(2, 3, 8, 8)),
    ],
)
def test_what_does_not_is_none(value):
    assert page.as_image(value) is None


def test_bytes_keep_their_colors():
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None].expand(3, 4, 4)
    assert page.enlarged(page.to_uint8(page.as_image(pixels))[0], 8)[7, 7].tolist() == [0, 128, 255]


def test_small_images_are_enlarged_by_blocks():
    pixels = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    large = page.enlarged(pixels, 6)
    assert large.shape == (6, 6, 3) and (large[:3, 3:] == pixels[:, 0, 1].numpy()).all()


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
    """Start `edexplore` and give the page's address."""
    servers = []

    def start(*words, **environment):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "invariances.cli.edexplore", "--port", str(port), *words]
        log = open(tmp_path / "log.txt", "w")  # noqa: SIM115 (the server writes on)
        environment = {**os.environ, "STREAMLIT_SERVER_HEADLESS": "true", **environment}
        servers.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        address = f"http://localhost:{port}"
        wait(lambda: urllib.request.urlopen(f"{address}/_stcore/health").status == 200, OSError)
        return address

    yield start
    for server in servers:
        server.terminate()
        server.wait()
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def wait(condition, passing=(), seconds=40):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except passing:
            pass
        time.sleep(0.1)
    raise TimeoutError


def test_it_is_seen_in_a_browser(serve, browser, tmp_path):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By

    write_mnist(tmp_path)
    browser.get(serve("--dataset", "invariances.data.ColorfulMNISTTrain", INVARIANCES_DATA=str(tmp_path)))

    def text():
        return browser.find_element(By.TAG_NAME, "body").text

    def widths():
        images = browser.find_elements(By.CSS_SELECTOR, "[data-testid=stImage] img")
        return [int(image.get_property("naturalWidth")) for image in images]

    wait(lambda: "ColorfulMNISTTrain" in text() and "Labels" in text() and len(widths()) == 4)
    wait(lambda: widths()[:2] == [256, 256] and min(widths()) > 0, StaleElementReferenceException)
    assert "40 examples" in text() and "3 × 32 × 32" in text()
    browser.find_element(By.CSS_SELECTOR, "[data-testid=stNumberInputStepUp]").click()
    wait(lambda: "Example 1\n" in text())
    browser.find_element(By.XPATH, "//label[.='test']").click()
    wait(lambda: "ColorfulMNISTTest" in text() and "20 examples" in text())
