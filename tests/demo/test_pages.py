"""The pages without a browser, on the models that ship with the package."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

import invariances
from invariances.analysis import fgsm, mix, random_signs
from invariances.config.nodes import map_checkpoints
from invariances.config.reading import read_file
from invariances.demo import released_models
from invariances.demo.adversarial_attack import attacked
from invariances.demo.factor_sliders import response
from invariances.demo.loading import load
from invariances.demo.mixing_grid import share_kept
from invariances.demo.representations import draw
from invariances.demo.sources import EMBEDDED, TASK, find_sources
from invariances.demo.study_map import cells
from invariances.demo.video import turning_colors
from invariances.evaluation.metrics.predicted_class import predicted_class
from invariances.utils import checkpoints
from invariances.zoo import Entry, zoo
from tests.file_server import serving

PAGES = Path(invariances.__file__).parent / "demo"
NAMES = ["adversarial_attack", "texture_bias", "mixing_grid", "video", "factor_sliders"]  # the others: see their tests


@pytest.fixture(autouse=True)
def no_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["page.py"])
    find_sources.clear()


def opened(name):
    app = AppTest.from_file(str(PAGES / f"{name}.py"), default_timeout=60).run()
    assert not app.exception and not app.error
    return app


def told(app):
    return " ".join(each.value for each in app.markdown)


def model(layer, kind="cinn"):
    return load(next(source for source in find_sources() if source.kind == kind and layer in source.layer))


@pytest.mark.parametrize("name", NAMES)
def test_every_page_opens(name):
    app = opened(name)
    assert app.title and app.selectbox(key="network" + ("_1" if name == "texture_bias" else "")).value


@pytest.mark.parametrize(("value", "error"), [("nan", None), ("-1", None), ("inf", "has an infinite seed: open it")])
def test_odd_values_in_the_address(value, error):
    app = AppTest.from_file(str(PAGES / "representations.py"), default_timeout=60)
    for name, odd in {"seed": value, "layer": "../../../etc/passwd", "network": "<b>"}.items():
        app.query_params[name] = odd
    app.run()
    assert not app.exception and app.selectbox(key="layer").value == "conv1"
    if error:
        assert error in app.error[0].value
    else:
        assert not app.error and app.number_input(key="seed").value == 0


def test_another_layer_shows_other_facts():
    app = opened("representations")
    assert app.selectbox(key="layer").value == "conv1" and "Colour is **kept**" in told(app)
    app.selectbox(key="layer").set_value("logits").run()
    assert not app.exception and "Colour is **not kept**" in told(app)
    assert app.subheader[0].value == "Layer logits"


def test_all_layers_stand_side_by_side_by_depth():
    app = opened("representations")
    app.toggle(key="all_layers").set_value(True).run()
    assert [header.value for header in app.subheader] == ["Layer conv1", "conv1", "conv3", "logits"]


def test_a_seed_repeats_the_samples(monkeypatch):
    app = opened("representations")
    first = told(app)
    app.button(key="resample").click().run()
    assert app.number_input(key="seed").value == 1 and told(app) != first
    app.number_input(key="seed").set_value(0).run()
    assert told(app) == first


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no picture", "cannot be read as a picture"), (b"", "cannot be read as a picture: it is empty")],
)
def test_a_broken_upload_is_told_in_a_sentence(content, message):
    app = opened("representations")
    app.file_uploader(key="example_upload").set_value(("a.png", content, "image/png")).run()
    assert not app.exception and message in app.error[0].value and "\n" not in app.error[0].value
    app.file_uploader(key="example_upload").set_value([]).run()
    assert not app.error and app.subheader


def test_a_broken_upload_leaves_those_in_other_fields():
    file = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(file, format="PNG")
    app = opened("factor_sliders")
    app.file_uploader(key="second_upload").set_value(("red.png", file.getvalue(), "image/png")).run()
    app.file_uploader(key="example_upload").set_value(("a.png", b"no picture", "image/png")).run()
    assert "cannot be read as a picture" in app.error[0].value and "the example is shown" in app.error[0].value
    assert app.file_uploader(key="second_upload").value.name == "red.png"
    app.file_uploader(key="example_upload").set_value([]).run()
    assert not app.error and app.file_uploader(key="second_upload").value.name == "red.png"


def test_the_response_has_a_share_for_each_class():
    loaded = load(next(source for source in find_sources() if source.kind == "factors"))
    with torch.no_grad():
        shares = {row["class"]: row["share"] for row in response(loaded, loaded.example(0), k=1, seed=0)}
    assert list(shares) == [str(digit) for digit in range(10)] and sum(shares.values()) == pytest.approx(1)
    assert shares["1"] > 0.9  # the first example is a one, in whatever colour


def test_the_map_has_a_row_for_each_layer_and_one_for_the_autoencoder():
    claims = {"attribute_hue": 1.0, "attribute_hue_ci": 0.1}
    numbers = {"a": claims | {"attribute_hue_measured": 0.25, "attribute_hue_autoencoder": 0.5}}
    numbers |= {"b": claims | {"attribute_hue_measured": -10.5, "attribute_hue_autoencoder": 0.9}}
    numbers["b"] |= {"attribute_scale": 1.0, "attribute_scale_measured": 0.1}
    rows = [(cell["layer"], cell["attribute"], cell["text"], cell["known"]) for cell in cells(numbers)]
    assert rows[:4] == [("a", "hue", ".25", True), ("a", "scale", "", False), ("b", "hue", "-10.5", True),
                        ("b", "scale", ".10", False)]  # fmt: skip
    assert rows[4:] == [("reconstruction", "hue", ".70", True), ("reconstruction", "scale", "", False)]


def test_a_study_shows_samples_in_the_order_of_a_property():
    app = opened("study_map")
    assert app.selectbox(key="layer").options == ["conv1", "conv3", "logits"]
    app.selectbox(key="attribute").set_value("class").run()
    assert "Samples are of 1 class(es). Examples of the data set are of 10 class(es)." in told(app)
    app.selectbox(key="attribute").set_value("hue").run()
    assert not app.exception and app.subheader[0].value == "Layer conv1: samples in the order of hue"


def test_a_released_model_is_downloaded_when_the_visitor_wants_it(monkeypatch, tmp_path):
    """The model of the logits in the place of a released one; its networks are those of the package."""
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))
    monkeypatch.setattr("invariances.utils.download.PAUSES", ())
    spec = read_file(EMBEDDED / "digits_cinn_logits" / TASK)
    config = {
        name: map_checkpoints(value, name, lambda text, key: str(EMBEDDED / text)) for name, value in spec.items()
    }
    monkeypatch.setattr(released_models, "FLOWS", {"cinn": (replace(released_models.ALEXNET, name="Net"), "logits")})
    monkeypatch.setattr(released_models, "config", lambda flow: config)
    buffer = io.BytesIO()
    torch.save(checkpoints.weights_of(checkpoints.load(EMBEDDED / "digits_cinn_logits")), buffer)
    with serving(buffer.getvalue()) as server:
        entry = Entry(
            "cinn", f"{server.url}/missing", "cinn.ckpt", "", model=config["model"], arguments=config["Transformer"]
        )
        monkeypatch.setattr(zoo, "entries", {"cinn": entry})
        app = opened("representations")
        app.selectbox(key="network").set_value("Net").run()
        assert "cinn: not on this machine yet" in app.info[0].value and not app.subheader
        app.button(key="download_cinn").click().run()
        assert "could not download cinn.ckpt" in app.error[0].value and not app.exception
        monkeypatch.setattr(zoo, "entries", {"cinn": replace(entry, url=f"{server.url}/good")})
        app.button(key="download_cinn").click().run()
    assert not app.exception and not app.error and app.subheader[0].value == "Layer logits"
    app.run()
    assert not app.info and server.requests == ["/missing", "/good"]


def test_without_a_run_of_its_kind_a_page_says_so(monkeypatch):
    monkeypatch.setattr("invariances.demo.sources.EMBEDDED", Path("nowhere"))
    app = AppTest.from_file(str(PAGES / "factor_sliders.py"), default_timeout=60).run()
    assert not app.exception and "there is no run of a disentangling INN to show" in app.error[0].value


def test_a_slider_takes_the_class_of_the_second_image():
    app = opened("factor_sliders")
    assert [slider.label for slider in app.slider] == ["digit", "colour", "residual"]
    app.slider(key="factor_digit").set_value(1.0).run()
    assert not app.exception and not app.error


def classes_of_samples(loaded, images, n_samples=5):
    network = loaded.task.greybox.network
    codes = loaded.task.model.sample(network.encode(images), n_samples, torch.Generator().manual_seed(0))
    return predicted_class(network(loaded.task.autoencoder.network.decode(codes.flatten(0, 1)))).view(-1, n_samples)


@torch.no_grad()
def test_an_attack_shows_another_class_and_noise_does_not():
    """Of the images whose class an attack changes: what most samples of an attacked, and of a noisy image show."""
    loaded = model("logits")
    network, images = loaded.classifier, torch.cat([loaded.example(index) for index in range(100)])
    changed, noisy = fgsm(network, images, 0.15), random_signs(images, 0.15, torch.Generator().manual_seed(0))
    old, new, control = (predicted_class(network(each)) for each in (images, changed, noisy))
    seen, seen_in_noise = classes_of_samples(loaded, changed), classes_of_samples(loaded, noisy)

    def share_of_images(classes, expected):
        return ((classes == expected[:, None]).float().mean(dim=1) > 0.5)[old != new].float().mean()

    assert (old != new).sum() >= 70
    assert share_of_images(seen, new) > 0.7 and share_of_images(seen, old) < 0.2
    assert share_of_images(seen_in_noise, old) > 0.9 and share_of_images(seen_in_noise, new) < 0.05
    assert (control == old)[old != new].float().mean() > 0.95


@pytest.mark.parametrize("layer", ["conv1", "conv3", "logits"])
def test_mixing_keeps_the_class_of_z(layer):
    loaded = model(layer)
    images = torch.cat([loaded.example(index) for index in range(20)])
    with torch.no_grad():
        mixed = mix(loaded.task.model, loaded.classifier, loaded.task.autoencoder.network, images, images)
        assert share_kept(loaded, images, mixed) >= 0.9


def test_visitors_at_once_get_what_one_gets_alone():
    loaded = model("logits")

    def visit(seed):
        found = draw(loaded, loaded.example(seed), 4, seed)
        attacked(loaded, loaded.example(seed), False, 0.1, seed)
        return torch.cat(list(found.views.values()))

    alone = [visit(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(visit, range(8)))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(alone, together, strict=True))


def test_colors_turn_and_greys_slide():
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1)
    clip = turning_colors(red, 3).flatten(1)
    expected = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert torch.allclose(clip, expected, atol=1e-5)
    assert turning_colors(torch.eye(4)[None, None], 4)[1].equal(torch.eye(4).roll(1, dims=1)[None])
