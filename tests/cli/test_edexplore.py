import json
import os
import sys

import numpy as np
import pytest
import streamlit
import torch
from streamlit.testing.v1 import AppTest

from invariances.cli import edexplore
from invariances.config.allowing import allow
from invariances.demo import data_browser as page
from tests.cli.waiting import wait
from tests.data.stand_ins import write_mnist, write_picture

MODULE = '''
import builtins
import os

import numpy as np
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

class Strange(List):
    """Values that not all of numpy, torch and Streamlit take."""
    def item(self, i):
        image = torch.linspace(-1, 1, 192).reshape(3, 8, 8)
        images = {"bgr": np.zeros((8, 8, 3))[..., ::-1], "brain": image.bfloat16()}
        images |= {"swapped": image.numpy().astype(">f4"), "parameter": image.clone().requires_grad_()}
        texts = {"objects": np.array([[None, 1], ["a", 2]]), "words": np.array([["a", "b"]] * 2)}
        tensors = {"sparse": torch.eye(3).to_sparse(), "nowhere": image.to("meta"), "complex": torch.ones(2) * 1j}
        thin = {"sound": torch.zeros(2, 9000), "points": torch.zeros(9000, 2)}
        return {**images, **texts, **tensors, **thin, 5: "five", "file": os.fsdecode(b"\\xe9.png")}

class Labelled(List):
    def __init__(self, labels=None, **others):
        self.labels = labels
        vars(self).update(others)
        super().__init__(3)
    def item(self, i):
        return {"image": torch.zeros(3, 8, 8), "class": torch.tensor(self.number)} if hasattr(self, "number") else {}

class Refusing(List):
    def __init__(self, error: str):
        raise getattr(builtins, error)("no such data")

class Unsized(List):
    def __len__(self):
        raise NotImplementedError("size unknown")
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of one's own module, exploring.py, to work in."""
    (tmp_path / "exploring.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    allow("exploring")
    yield tmp_path
    sys.modules.pop("exploring", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def started(monkeypatch, *words):
    """What a command would open: the page's argument, and the settings of the server."""
    commands = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    assert edexplore.main(list(words)) == 0
    (command,) = commands
    return json.loads(command[command.index("--") + 1]), command


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
        (["--dataset", "json.JSONDecoder"], "is not a data set"),
        (["--dataset", "invariances.data.DigitsTrain", "--sise", "8"], "size"),
        (["--dataset", "invariances.data.DigitsTrain", "--size", "big"], "size"),
        (["--dataset", "invariances.data.DigitsTrain", "--size"], "--size: has no value"),
        (["--dataset", "invariances.data.DigitsTrain", "stray"], "stray: stray word"),
        (["--dataset", "invariances.data.Folder"], "folder"),
        (["-b", "nowhere.yaml"], "nowhere.yaml"),
        (["--dataset", "a.B", "-b", "a.yaml"], "not allowed with"),
        (["--dataset", "invariances.data.DigitsTrain", "--port", "x"], "--port"),
        (["--dataset", "invariances.data.DigitsTrain", "--port", "70000"], "got port 70000; expected 1 to 65535"),
        (["--dataset", "invariances.data.DigitsTrain", "--port", "-1"], "got port -1; expected 1 to 65535"),
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
    assert "2 of 4 are missing here. Example 1 cannot be read" in app.warning[0].value
    app.sidebar.number_input[0].set_value(1).run()
    assert app.error[0].value == "Example 1 cannot be read: RuntimeError: number 1 is lost"
    app.sidebar.number_input[0].set_value(2).run()
    assert not app.error and not app.exception


@pytest.mark.parametrize("error", ["ValueError", "KeyError", "RuntimeError", "ImportError", "OSError"])
def test_a_data_set_that_cannot_be_opened_is_told(monkeypatch, here, error):
    spec = {"class": "exploring.Refusing", "error": error}
    app = opened(monkeypatch, examples=spec, other={"class": "exploring.Single", "n": 1})
    assert len(app.error) == 1 and "no such data" in app.error[0].value
    app.sidebar.radio[0].set_value("other").run()
    assert not app.error and not app.exception


def test_a_data_set_without_a_size_is_told(monkeypatch, here):
    app = opened(monkeypatch, examples={"class": "exploring.Unsized"})
    (error,) = app.error
    assert error.value == "The data set cannot be shown: NotImplementedError: size unknown"


def test_strange_values_are_shown_as_images_or_as_text(monkeypatch, here):
    app = opened(monkeypatch, examples={"class": "exploring.Strange", "n": 2})
    assert not app.error and not app.warning
    assert len(app.columns) == 8  # the four images, alone and as a grid
    rows = table(app)
    for name, kind in {"brain": "bfloat16", "swapped": "float32", "parameter": "float32"}.items():
        assert rows[name]["kind"] == kind and rows[name]["range"] == "-1 … 1"
    for name, text in {"objects": "None", "words": "'b'", "sparse": "nnz=3", "nowhere": "meta", "5": "five"}.items():
        assert text in rows[name]["value"]
    assert rows["file"]["value"] == "?.png" and rows["sound"]["shape"] == "2 × 9000"


@pytest.mark.parametrize(
    ("number", "classes", "text"),
    [
        *((1, ["cat", "dog"], "1 (dog)"), (-1, ["cat", "dog"], "-1"), (2, ["cat", "dog"], "2")),
        *((0.5, ["cat", "dog"], "0.5"), (1, 10, "1"), (1, None, "1")),
    ],
)
def test_a_class_without_a_name_is_its_number(monkeypatch, here, number, classes, text):
    app = opened(monkeypatch, examples={"class": "exploring.Labelled", "number": number, "classes": classes})
    assert table(app)["class"]["value"] == text and not app.error


@pytest.mark.parametrize(
    ("labels", "bars"),
    [
        ({"class": [-1, 0, 1, 1, 7]}, {"-1": 1, "cat": 1, "dog": 2, "7": 1}),
        ({"class": [0.0, 0.5]}, {"cat": 1, "0.5": 1}),
        ({"class": [None, "a", "a"]}, {"None": 1, "a": 2}),
        ({"tags": [["a"], ["a", "b"]]}, {"['a']": 1, "['a', 'b']": 1}),
        ([3, 3, 4], {3: 2, 4: 1}),
    ],
)
def test_labels_of_any_kind_are_counted(monkeypatch, here, labels, bars):
    drawn, draw = [], streamlit.bar_chart
    monkeypatch.setattr(streamlit, "bar_chart", lambda data, **axes: (drawn.append(data), draw(data, **axes)))
    spec = {"labels": labels, "classes": ["cat", "dog"]}
    app = opened(monkeypatch, examples={"class": "exploring.Labelled", **spec})
    (data,) = drawn
    assert dict(zip(*data.values(), strict=True)) == bars and not app.error


def test_a_part_that_cannot_be_shown_leaves_the_others(monkeypatch, here):
    spec = {"labels": {"class": None}, "skipped": 2, "files": ["first.png"]}
    app = opened(monkeypatch, examples={"class": "exploring.Labelled", **spec})
    assert [error.value.partition(":")[0] for error in app.error] == [
        "The summary cannot be shown",
        "The histogram cannot be shown",
    ]
    assert app.caption[1].value == "first.png"
    app.sidebar.number_input[0].set_value(2).run()
    assert [header.value for header in app.header] == ["Example 2", "Examples 2 to 2", "Labels"]
    assert len(app.caption) == 1 and not app.exception


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (torch.zeros(3, 8, 9), (1, 3, 8, 9)),
        (torch.zeros(8, 9, 3), (1, 3, 8, 9)),
        (np.zeros((8, 9, 1)), (1, 1, 8, 9)),
        (torch.zeros(8, 9), (1, 1, 8, 9)),
        (torch.zeros(3, 8, 9, dtype=torch.uint8), (1, 3, 8, 9)),
        (np.zeros((8, 9, 3), np.uint8)[::-1, :, ::-1], (1, 3, 8, 9)),
        (np.zeros((8, 9), ">f8"), (1, 1, 8, 9)),
        (np.broadcast_to(np.float16(0), (3, 8, 9)), (1, 3, 8, 9)),
        (torch.zeros(3, 8, 9, dtype=torch.bfloat16, requires_grad=True), (1, 3, 8, 9)),
        (torch.zeros(2, 2000), (1, 1, 2, 2000)),
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
        *(torch.eye(3).to_sparse(), torch.zeros(3, 8, 9, device="meta"), torch.zeros(9000, 2)),
        *(np.zeros((8, 9), object), np.zeros((8, 9), str), np.zeros((8, 9), complex), np.zeros((8, 9), "M8[s]")),
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


def test_tall_images_are_enlarged_by_their_height():
    assert page.enlarged(torch.zeros(3, 8, 2, dtype=torch.uint8), 16).shape == (16, 4, 3)


def test_bytes_from_elsewhere_keep_their_values():
    flipped, swapped = np.array([[1.5, 2]])[:, ::-1], np.array([[2, 1.5]], ">f4")
    tensor = torch.tensor([[2, 1.5]], dtype=torch.bfloat16, requires_grad=True)
    assert all(page.as_array(value).tolist() == [[2, 1.5]] for value in (flipped, swapped, tensor))


@pytest.mark.slow
def test_it_is_seen_in_a_browser(serve, browser, tmp_path):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By

    write_mnist(tmp_path)
    browser.get(serve("edexplore", "--dataset", "invariances.data.ColorfulMNISTTrain", INVARIANCES_DATA=str(tmp_path)))

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
