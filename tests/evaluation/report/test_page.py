"""The report on runs whose files are damaged, and in folders that hold something already."""

import json

import numpy as np
import pytest
from markupsafe import escape

from invariances.errors import UserError
from invariances.evaluation.report.assessment import THRESHOLDS
from invariances.evaluation.report.attribute_map import attribute_map, attribute_names
from invariances.evaluation.report.page import write_report


def evaluation(run, name, step=1, layer="conv1"):
    """A folder as an evaluation leaves it; the higher the step, the newer."""
    folder = run / "eval" / name
    folder.mkdir(parents=True)
    facts = {"time": f"2026-11-25T10:00:{step:02}+00:00", "layer": layer, "depth": 3, "metrics": {"cosine": step / 10}}
    (folder / "metrics.json").write_text(json.dumps(facts))
    np.savez_compressed(folder / "grid.npz", input=np.zeros((2, 3, 4, 4), np.uint8))
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def without_time(path):
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "time"}))


def with_facts(**facts):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def with_pictures(*shapes):
    return lambda path: np.savez(path, *(np.zeros(shape, np.uint8) for shape in shapes))


def no_pictures(path):
    np.savez(path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.json", cut),
        ("metrics.json", without_time),
        ("metrics.json", lambda path: path.write_text("[1, 2]")),
        ("metrics.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("metrics.json", with_facts(layer="\ud800")),
        ("metrics.json", with_facts(metrics={"cosine": "0.9"})),
        ("metrics.json", with_facts(metrics={"cosine": [0.9]})),
        ("metrics.json", with_facts(metrics={"\udfff": 0.9})),
        ("metrics.json", with_facts(legend={"cosine": ["a"]})),
        ("metrics.json", with_facts(cautions={"a": 1})),
        ("metrics.json", with_facts(cautions=[3])),
        ("metrics.json", with_facts(factors={"../../secret": 3})),
        ("metrics.json", with_facts(factors={"digit": "3"})),
        ("metrics.json", lambda path: path.write_text("[" * 100_000)),
        ("grid.npz", with_pictures((2, 7, 4, 4))),
        ("grid.npz", with_pictures((0, 3, 4, 4))),
        ("grid.npz", with_pictures((1, 3, 4, 4), (1, 3, 4, 5))),
        ("grid.npz", cut),
        ("grid.npz", lambda path: path.write_bytes(b"")),
        ("grid.npz", no_pictures),
    ],
)
def test_a_damaged_evaluation_is_left_out_with_a_warning(tmp_path, caplog, name, damage):
    run = tmp_path / "run"
    evaluation(run, "old", 1), evaluation(run, "good", 5)
    damaged = evaluation(run, "newest", 9)
    damage(damaged / name)
    page = write_report([[run]], tmp_path / "out").read_text()
    assert "0.500" in page and "0.900" not in page
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        f"{damaged}: this evaluation is damaged and left out"
    ]


def test_nothing_but_damage(tmp_path):
    cut(evaluation(tmp_path / "run", "one") / "metrics.json")
    with pytest.raises(UserError, match=r"run: no evaluation of a layer or of factors found.*edflow -p"):
        write_report([[tmp_path / "run"]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["afile", "afile/x"])
def test_a_file_is_no_folder_for_a_report(tmp_path, name):
    evaluation(tmp_path / "run", "one")
    (tmp_path / "afile").write_text("mine")
    with pytest.raises(UserError, match=f"{name}: the report cannot be written there .*name another folder: -o"):
        write_report([[tmp_path / "run"]], tmp_path / name)
    assert (tmp_path / "afile").read_text() == "mine"


def factors(run, pictures):
    folder = run / "eval" / "one"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"time": "2026-11-25T10:00:00+00:00", "factors": {"digit": 2, "residual": 3}, "metrics": {}}
    (folder / "metrics.json").write_text(json.dumps(facts))
    for old in folder.glob("*.png"):
        old.unlink()
    for picture in pictures:
        (folder / picture).write_bytes(b"PNG")


def test_pictures_of_an_earlier_report_go_and_others_stay(tmp_path):
    out, runs = tmp_path / "out", [tmp_path / name for name in ("a", "b", "diin", "diin-2")]
    for run, layer in zip(runs, ("conv1", "conv/2"), strict=False):
        evaluation(run, "one", layer=layer)
    for run in runs[2:]:
        factors(run, ["walk_digit.png", "response.png"])
    write_report([[run] for run in runs], out)
    (out / "layer-cake.png").write_bytes(b"mine")
    written = {path.name for path in out.iterdir()}
    assert {"layer-1-conv1.png", "layer-2-conv-2.png", "ladder.csv", "diin-walk_digit.png"} <= written

    write_report([runs[1:2]], out)
    assert {path.name for path in out.glob("layer-*")} == {"layer-1-conv-2.png", "layer-cake.png"}
    factors(runs[2], ["response.png"])
    write_report([runs[2:3]], out)
    left = {"report.html", "layer-cake.png", "diin-response.png", "diin-2-walk_digit.png", "diin-2-response.png"}
    assert {path.name for path in out.iterdir()} == left


def rewrite(folder, **changes):
    path = folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_numbers_that_no_table_lists_come_last_with_their_text(tmp_path):
    numbers = {"cosine": 0.5, "sharpness": 0.25, "sharpness_ci": 0.125, "nothing": None, "validation/loss": 0.75}
    rewrite(evaluation(tmp_path / "run", "one"), metrics=numbers, legend={"sharpness": "1: as sharp as the data."})
    page = write_report([[tmp_path / "run"]], tmp_path / "out").read_text()
    others = page[page.index("Other numbers") :]
    assert "<td>sharpness</td><td>0.250<small>±\xa00.125</small></td>" in others
    assert "<dt>sharpness</dt><dd>1: as sharp as the data.</dd>" in others
    assert "<td>nothing</td><td></td>" in others
    assert "cosine" not in others and "validation loss" not in page and "0.750" not in page


def test_factors_have_a_last_table_too(tmp_path):
    factors(tmp_path / "diin", [])
    numbers = {"swap_digit_class_kept": 0.5, "fid_random": 12.5}
    rewrite(tmp_path / "diin" / "eval" / "one", metrics=numbers)  # an older file, without a legend
    page = write_report([[tmp_path / "diin"]], tmp_path / "out").read_text()
    others = page[page.index("Other numbers") :]
    assert "<th>diin</th>" in others and "<td>fid random</td><td>12.5</td>" in others
    assert "<dt>fid random</dt><dd>Fréchet distance" in others
    assert "swap" not in others and "class stays" in page


def test_no_last_table_where_all_numbers_are_listed(tmp_path):
    evaluation(tmp_path / "run", "one")
    assert "Other numbers" not in write_report([[tmp_path / "run"]], tmp_path / "out").read_text()


CALIBRATED = {"spread_skill": 1.0, "residual_variance": 0.6, "variance_explained_by_v": 0.6, "half_v_squared": 0.5}


def page_of(tmp_path, **metrics):
    rewrite(evaluation(tmp_path / "run", "one"), metrics=metrics)
    return " ".join(write_report([[tmp_path / "run"]], tmp_path / "out").read_text().split())


def test_each_layer_is_assessed_below_its_title(tmp_path):
    for layer, spread in (("conv1", 1.0), ("conv2", 0.8)):
        rewrite(evaluation(tmp_path / layer, "one", layer=layer), metrics=CALIBRATED | {"spread_skill": spread})
    page = " ".join(write_report([[tmp_path / "conv1"], [tmp_path / "conv2"]], tmp_path / "out").read_text().split())
    first, second = page.split("<h2>1. conv1</h2>")[1].split("<h2>2. conv2</h2>")
    assert first.startswith(' <p class="assessment trusted">Trust: the flow is calibrated')
    assert second.startswith(' <p class="assessment">Over-confident: read the variance of the codes as at most 0.600')
    assert all(str(escape(reason)) in page for _, reason in THRESHOLDS.values())


def test_an_evaluation_without_calibration_is_not_trusted(tmp_path):
    page = page_of(tmp_path, cosine=0.5)
    assert "Not assessed: calibration was not measured" in page and "assessment trusted" not in page


def test_measured_and_claimed_variance_stand_together_under_their_names(tmp_path):
    page = page_of(tmp_path, diversity=0.125, **CALIBRATED | {"variance_explained_by_v": 0.25})
    table = page[page.index("What does the layer leave open?") :].split("</table>")[0]
    assert table.index("measured") < table.index("the flow&#39;s claim: explained by v")
    assert "0.600</td><td>0.250</td>" in table and "variance of the pixels" in table
    ladder = page[page.index("In numbers") :].split("</table>")[0]
    assert "residual variance</th><th>spread / error</th><th>½v²</th>" in ladder


def test_every_reference_stands_next_to_its_measure(tmp_path):
    measures = ["class_agreement", "hue_agreement", "relative_l2", "spearman", "retrieval_rank", "class_agreement_top5"]
    ends = ["", "_autoencoder", "_nearest", "_negative", "_random", "_mlp", "_mean"]
    values = {f"{name}{end}": 0.1 * i + 0.01 * j for i, name in enumerate(measures) for j, end in enumerate(ends)}
    page = page_of(tmp_path, **values)
    assert "Other numbers" not in page
    for i in range(len(measures)):
        cells = [f"{0.1 * i + 0.01 * j:.3f}</td>" for j in range(len(ends))]
        assert "<td>".join(cells) in page, measures[i]
    assert "ceiling" not in page and "best picture" not in page


def test_the_networks_own_accuracy_and_constant_predictions_are_told(tmp_path):
    page = page_of(tmp_path, network_accuracy=0.875, predicted_classes=10.0)
    assert page.count("The network itself is right on 0.875 of these images.") == 1 and "one class for all" not in page
    page = page_of(tmp_path / "other", network_accuracy=0.1, predicted_classes=1.0)
    assert "The network predicts one class for all images" in page
    assert "network itself" not in page_of(tmp_path / "third", cosine=0.5)
    assert "held-out image (of the validation split)" in page and "never trained on" not in page


def test_what_a_reader_has_to_know_stands_below_the_title_of_its_layer(tmp_path):
    cautions = ["alexnet has random weights: none are given", "a <b> is no split"]
    rewrite(evaluation(tmp_path / "run", "one"), metrics=CALIBRATED, cautions=cautions)
    page = " ".join(write_report([[tmp_path / "run"]], tmp_path / "out").read_text().split())
    head = page.split("<h2>1. conv1</h2>")[1].split("<img")[0]
    assert '<p class="assessment">Caution: alexnet has random weights: none are given.</p>' in head
    assert "Caution: a &lt;b&gt; is no split." in head
    assert "Caution" not in page_of(tmp_path / "other", cosine=0.5)


def test_only_what_changes_beyond_chance_is_told_as_a_change(tmp_path):
    for layer, agreement, diversity in (("conv1", 0.861, 0.014), ("conv2", 0.847, 0.373)):
        numbers = {"class_agreement": agreement, "class_agreement_ci": 0.03, "diversity": diversity}
        rewrite(evaluation(tmp_path / layer, "one", layer=layer), metrics=numbers | {"diversity_ci": 0.02})
    page = " ".join(write_report([[tmp_path / "conv1"], [tmp_path / "conv2"]], tmp_path / "out").read_text().split())
    assert "is that of their input does not change beyond chance (0.861, 0.847);" in page
    assert "over that of the data, goes from 0.014 to 0.373." in page


def test_factors_are_shown_as_measured_and_as_claimed(tmp_path):
    page = page_of(tmp_path, factor_digit_residual=0.875, factor_digit_explained_by_z=0.25)
    table = page[page.index("Factors and sets of images") :]
    assert table.index("residual variance of factors, measured") < table.index("the flow&#39;s claim")
    assert "0.875</td><td class=\"first\">0.250</td>" in table and "Other numbers" not in page


def test_the_map_of_layers_and_attributes():
    numbers = {"attribute_hue": 1.0, "attribute_hue_measured": 0.9, "attribute_hue_ci": 0.1, "cosine": 1.0}
    numbers |= {"attribute_hue_autoencoder": 0.95}
    assert attribute_names(numbers) == ["hue"]
    figure = attribute_map([("conv1", numbers), ("logits", {**numbers, "attribute_hue_measured": 0.1})])
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["0.90", "0.10", "0.95"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["conv1", "logits", "reconstruction"]


@pytest.mark.parametrize("ceiling", [0.2, None])
def test_an_attribute_that_the_autoencoder_loses_is_grey(ceiling):
    numbers = {"attribute_hue": 1.0, "attribute_hue_measured": 0.1, "attribute_hue_autoencoder": ceiling}
    figure = attribute_map([("conv1", numbers)])
    assert figure.axes[0].images[0].get_array().mask.all()


@pytest.mark.parametrize("layer", [r"$\frac{$", "$x$", "a" * 5000, "a\x00b\nc", "𝔸 ネ", "../../up", "%s{}"])
def test_odd_names_of_layers_are_shown_as_they_are(tmp_path, layer):
    evaluation(tmp_path / "run", "good", layer=layer)
    evaluation(tmp_path / "other", "good")
    page = write_report([[tmp_path / "run"], [tmp_path / "other"]], tmp_path / "out").read_text()
    assert str(escape(layer.replace("\r", ""))) in page
    assert {path.parent for path in tmp_path.rglob("*.png")} == {tmp_path / "out"}


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    folder = evaluation(tmp_path / "run", "good")
    with_facts(metrics={"cosine": 0.25, "mine": float("nan"), "yours": 10**400})(folder / "metrics.json")
    page = write_report([[tmp_path / "run"]], tmp_path / "out").read_text()
    assert "0.250" in page and "nan" not in page and "inf" not in page


def test_links_out_of_the_report_are_not_written_through(tmp_path):
    evaluation(tmp_path / "run", "good")
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ladder.csv").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=r"ladder\.csv is a link out of this folder"):
        write_report([[tmp_path / "run"]], tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "mine"


def test_trainings_that_differ_in_their_seed_alone_are_one_row_with_their_mean_and_spread(tmp_path):
    for run, cosine in (("a", 0.25), ("b", 0.75)):
        rewrite(evaluation(tmp_path / run, "one"), metrics={"cosine": cosine, "cosine_ci": 0.125, "nll": 2.0})
    page = write_report([[tmp_path / "a", tmp_path / "b"]], tmp_path / "out").read_text()
    assert page.count("<h2>1. conv1</h2>") == 1 and "<h2>2. conv1</h2>" not in page
    assert "<td>0.500<small>±\xa00.125</small><small>σ\xa00.354</small></td>" in page and "<td>2.000</td>" in page
    assert "<dt>σ</dt>" in page and "means\nof 2</p>" in page and "Other numbers" not in page


def test_a_number_that_one_training_lacks_is_left_blank(tmp_path):
    for run, nll in (("a", 1.5), ("b", None)):
        rewrite(evaluation(tmp_path / run, "one"), metrics={"cosine": 0.5, "nll": nll})
    page = write_report([[tmp_path / "a", tmp_path / "b"]], tmp_path / "out").read_text()
    assert "1.500" not in page and "0.500" in page
