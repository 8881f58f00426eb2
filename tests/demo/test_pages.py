"""The pages without a browser, on the models that ship with the package."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

import invariances
from invariances.analysis import fgsm, mix, random_signs
from invariances.demo.adversarial_attack import attacked
from invariances.demo.mixing_grid import share_kept
from invariances.demo.representations import draw
from invariances.demo.sources import find_sources, load
from invariances.demo.video import turning_colors
from invariances.evaluation.metrics.predicted_class import predicted_class

PAGES = Path(invariances.__file__).parent / "demo"
NAMES = ["representations", "adversarial_attack", "texture_bias", "mixing_grid", "video", "factor_sliders"]


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


def test_without_a_run_of_its_kind_a_page_says_so(monkeypatch):
    monkeypatch.setattr("invariances.demo.sources.EMBEDDED", Path("nowhere"))
    app = AppTest.from_file(str(PAGES / "factor_sliders.py"), default_timeout=60).run()
    assert not app.exception and "there is no run of a disentangling INN to show" in app.error[0].value


def test_a_slider_takes_the_class_of_the_second_image():
    app = opened("factor_sliders")
    assert [slider.label for slider in app.slider] == ["digit", "colour", "residual"]
    app.slider(key="factor_digit").set_value(1.0).run()
    assert not app.exception and not app.error


def test_an_attack_shows_another_class_and_noise_does_not():
    """Of the images whose class an attack changes, samples show the new class; with noise they keep the old one."""
    loaded = model("logits")
    network, cinn, autoencoder = loaded.task.greybox.network, loaded.task.model, loaded.task.autoencoder.network
    images = torch.cat([loaded.example(index) for index in range(40)])
    changed_images, noisy = fgsm(network, images, 0.15), random_signs(images, 0.15, torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = predicted_class(network(images)), predicted_class(network(changed_images))
        seen = {}
        for name, each in {"attacked": changed_images, "noisy": noisy}.items():
            codes = cinn.sample(network.encode(each), 4, torch.Generator().manual_seed(0)).flatten(0, 1)
            seen[name] = predicted_class(network(autoencoder.decode(codes))).view(40, 4)
    changed = before != after
    assert changed.sum() >= 10
    assert (seen["attacked"] == after[:, None])[changed].float().mean() > 0.7
    assert (seen["noisy"] == before[:, None])[changed].float().mean() > 0.85


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
