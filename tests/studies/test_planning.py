from dataclasses import replace

import pytest
import torch
import yaml

from invariances.cli import invariances as command
from invariances.config.reading import read_file
from invariances.errors import UserError
from invariances.studies import planning, quality, timing
from invariances.studies.execution import Progress
from invariances.studies.planning import PLANNING, REPORT, described, plan_study, require_space, write_plan
from invariances.studies.request import Request
from tests.studies.conftest import TINY, save_pictures

COST = timing.Cost(step=0.01, once=5.0, memory=1e9, disk=1e7)


@pytest.fixture
def _without_timing(monkeypatch):
    """Costs are given, not measured."""

    def measured(plan, trained):
        return replace(plan, costs={recipe.name.partition("-seed")[0]: COST for recipe in plan.recipes})

    monkeypatch.setattr(planning, "_measured", measured)


pytestmark = pytest.mark.usefixtures("_without_timing")


def plan(model="study_nets:Net", data="pictures", weights="net.pt", **others):
    return plan_study(Request(model, data, weights, **others))


def test_a_folder_of_class_folders(work):
    found = plan()
    assert found.name == "Net_pictures"
    assert (found.images.n_train, found.images.n_validation, found.images.classes) == (56, 24, 2)
    assert [layer.name for layer in found.layers] == ["stem.0", "stem", "stage.0", "stage", "fc"]
    assert found.network.size == 32
    assert [recipe.name for recipe in found.recipes] == ["autoencoder", "stem.0", "stem", "stage.0", "stage", "fc"]
    flow = found.flows[1].config
    assert flow["GreyboxModel"] == {
        "model": "study_nets.Net",
        "weights": "net.pt",
        "in_size": 32,
        "in_channels": 3,
        "preprocess": flow["GreyboxModel"]["preprocess"],
        "layer": "stem",
    }
    assert flow["Transformer"]["conditioning_spatial_size"] == 16
    assert flow["AutoencoderModel"]["checkpoint"] == str(found.first.checkpoint(found.folder))


def test_the_split_is_of_each_class_and_disjoint(work):
    from invariances.config.building import build_dataset

    config = plan().flows[0].config
    train, held_out = (build_dataset(config, split) for split in ("train", "validation"))
    assert not {*train.files} & {*held_out.files}
    assert train.labels["class"].bincount().tolist() == [28, 28]
    assert held_out.labels["class"].bincount().tolist() == [12, 12]


def test_the_preprocessing_is_that_with_which_the_network_is_right(work):
    found = plan("study_nets:Bright", weights="bright.pt", n_layers=1)
    assert found.network.accuracy.value == 1.0
    mean = found.network.section["preprocess"]["mean"]
    assert all(0.3 < value < 0.6 for value in mean)


def test_the_users_preprocessing_counts(work):
    found = plan(preprocess="{mean: [0.1, 0.2, 0.3], std: [1.0, 1.0, 1.0]}")
    stated = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]}
    assert found.network.section["preprocess"] == stated | {"size": None}


def test_a_stated_normalisation_leaves_the_size_to_be_found(work):
    found = plan("study_nets:Bright28", weights="bright.pt", preprocess="{mean: .5, std: .5}", n_layers=1)
    assert (found.network.size, found.network.accuracy.value) == (28, 1.0)
    assert found.network.section["preprocess"] == {"mean": 0.5, "std": 0.5, "size": None}
    assert "28 px in the normalisation that is stated" in found.network.notes[0]


def test_a_stated_size_leaves_the_normalisation_to_be_found(work):
    found = plan("study_nets:Bright28", weights="bright.pt", preprocess="{size: 28}", n_layers=1)
    assert (found.network.size, found.network.accuracy.value) == (28, 1.0)
    assert found.network.section["preprocess"]["mean"] != [0.0]


@pytest.mark.parametrize(("preprocess", "guessed"), [(None, True), ("{mean: .5, std: .5}", False)])
def test_a_guessed_normalisation_is_told(work, preprocess, guessed):
    save_pictures(work / "one" / "cats", 25)
    texts = " ".join(finding.text for finding in plan(data="one", n_layers=1, preprocess=preprocess).findings)
    assert ("normalised is a guess" in texts) == guessed


def test_a_network_of_one_size(work):
    found = plan("study_nets:Flat", weights=None, n_layers=1)
    assert (found.network.size, found.network.channels) == (28, 1)


def test_random_weights_are_kept_so_that_all_trainings_have_the_same(work):
    first = plan(weights=None, n_layers=1)
    kept = first.network.section["weights"]
    assert kept == "studies/Net_pictures/random_weights.pt"
    assert plan(weights=None, n_layers=1).network.identity == first.network.identity
    assert any("random weights" in finding.text for finding in first.findings)


def test_a_second_plan_is_that_of_the_first(work):
    first = plan(n_layers=2)
    write_plan(first)
    assert read_file("studies/Net_pictures/fc.yaml") == first.flows[-1].config
    again = plan(n_layers=2)
    assert [recipe.folder(again.folder) for recipe in again.recipes] == [r.folder(first.folder) for r in first.recipes]
    assert again.costs == first.costs


@pytest.mark.parametrize(("name", "value"), [("quality", {"n_flows": "x"}), ("costs", []), ("precision", "float8")])
def test_a_damaged_plan_is_told(work, name, value):
    first = plan(layers=("fc",))
    write_plan(first)
    path = first.folder / "study.yaml"
    path.write_text(yaml.safe_dump(read_file(path) | {name: value}))
    with pytest.raises(UserError, match=r"study\.yaml: is damaged \(.*\); remove it to plan anew"):
        plan(layers=("fc",))


def test_what_changes_and_what_does_not(work):
    first = plan(layers=("fc",))
    more = plan(layers=("stage", "fc"))
    assert more.first.digest == first.first.digest
    assert more.flows[1].digest == first.flows[0].digest
    torch.manual_seed(1)
    import study_nets

    torch.save(study_nets.Net().state_dict(), "net.pt")
    other = plan(layers=("fc",))
    assert other.first.digest == first.first.digest  # the autoencoder never sees the network
    assert other.flows[0].digest != first.flows[0].digest


def test_seeds_differ_in_their_seed_alone(work):
    found = plan(layers=("fc",), n_seeds=2)
    one, other = (recipe.config for recipe in found.flows)
    assert {name for name in one if one[name] != other[name]} == {"seed"}
    assert [recipe.name for recipe in found.flows] == ["fc", "fc-seed1"]


def test_a_budget_sets_the_length(work, monkeypatch):
    monkeypatch.setitem(quality.LEVELS, "draft", quality.DRAFT)
    for budget in (50.0, 60.0):
        found = plan(n_layers=2, budget=budget)
        assert budget - 4 < found.total_time <= budget


@pytest.mark.parametrize("budget", [70.0, 101.0, 133.3, 250.0, 1000.0])
def test_no_plan_exceeds_its_budget(work, monkeypatch, budget):
    for name, level in [("draft", quality.DRAFT), ("good", quality.GOOD)]:
        monkeypatch.setitem(quality.LEVELS, name, level)
    assert plan(n_layers=5, budget=budget).total_time <= budget


def test_too_small_a_budget(work):
    with pytest.raises(UserError, match=r"--budget 1 s: the shortest study .* use --budget \dm"):
        plan(budget=1.0)


def test_a_full_disk(work, monkeypatch):
    found = plan(n_layers=1)
    require_space(found)
    usage = type("Usage", (), {"free": 10**8})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"needs about 1.0 GB, and 0.1 GB are free"):
        require_space(found)


def test_few_and_small_pictures(work):
    save_pictures(work / "few", 25, size=16)
    found = plan(data="few", n_layers=1)
    texts = " ".join(finding.text for finding in found.findings)
    assert "images to learn from are few" in texts
    assert "16 × 16 px are small" in texts
    assert found.network.size == 16


def test_one_class_is_no_class(work):
    save_pictures(work / "one" / "cats", 25)
    found = plan(data="one", n_layers=1)
    assert found.images.classes is None
    assert any("the only sub-folder, cats, is no class" in note for note in found.images.notes)


def test_a_map_of_outputs_has_no_accuracy(work):
    found = plan("study_nets:Maps", weights=None)
    assert found.network.accuracy is None
    assert [layer.name for layer in found.layers] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "three"}, "has 3 pictures; expected at least 20"),
        ({"data": "nowhere"}, "no such folder"),
        ({"data": "invariances.data.Nothing"}, "no Nothing"),
        ({"model": "study_nets:Dictionary"}, "returns a dict with logits, images; expected one tensor"),
        ({"model": "study_nets:Ned"}, "did you mean Net"),
        ({"model": "study_nets:Squeezed", "weights": "bright.pt"}, r"a tensor of shape \(1,\) for 1 image; expected"),
        ({"model": "study_nets:Averaged"}, r"a tensor of shape \(1, 2\) for 20 images; expected"),
        ({"model": "study_nets:NeedsWidth"}, '/width: missing; .* write "{class: study_nets.NeedsWidth, width: …}"'),
        ({"model": "{class: study_nets.Net, chanels: 3}"}, "chanels: unknown argument of Net; did you mean channels"),
        ({"model": "study_nets:Unmade"}, r"cannot be made: KeyError: 'width' \(.*study_nets.py:\d+\)$"),
        ({"model": "study_nets:Crashing"}, r"fails on images of 3 × 32 × 32: KeyError: .* \(.*study_nets.py:\d+\)$"),
        ({"model": "study_nets:Flat", "weights": None, "preprocess": "{size: 30}"}, "images of 1 × 30 × 30: Runtime"),
        ({"model": "study_nets.py:Net"}, "no module named study_nets.py; did you mean study_nets.Net?"),
        ({"model": "study_nets.py"}, "study_nets.py: is no network; name a class in it, such as study_nets:Net"),
        ({"model": "nowhere:Net"}, "no module named nowhere"),
        ({"preprocess": "foo"}, '--preprocess foo: "foo" is text; expected settings such as'),
        ({"preprocess": "{mean: foo, std: 1}"}, '--preprocess/mean: "foo" is text; expected a number or a list of'),
        ({"preprocess": "{maen: 0, std: 1}"}, "--preprocess/maen: unknown argument of Preprocess; did you mean mean"),
        ({"preprocess": "{mean: [0.5, 0.5], std: [0.5, 0.5]}"}, "preprocess/mean has 2 values; expected 3"),
        ({"name": "../x"}, "--name ../x: expected the name of a folder, .* such as --name x, which is studies/x"),
        ({"data": "picturs"}, "no such folder; did you mean pictures?"),
        ({"data": "{class: invariances.data.Folder}"}, "--data/folder: missing; Folder needs it"),
        ({"weights": "nett.pt"}, "nett.pt: no such file; did you mean net.pt?"),
        ({"weights": "none.pt"}, "none.pt: no such file"),
        ({"layers": ("stag",)}, "did you mean stage"),
        ({"size": 33}, "--size 33: expected one of"),
    ],
)
def test_one_line_tells_what_is_wrong(work, arguments, message):
    save_pictures(work / "three", 3)
    with pytest.raises(UserError, match=message) as error:
        plan(**arguments)
    assert "\n" not in str(error.value)


def test_the_plan_in_words(work):
    text = "\n".join(described(plan(n_layers=2)))
    assert "56 for training, 24 held out, 2 classes" in text
    assert "stage" in text and "fc" in text
    assert "in all    about" in text and "if the machine stays as busy as it was" in text
    assert "layers    2 of 6 places; left out: stem, stem.0, stage.0 …; --n_layers 6 takes more" in text


def test_a_finished_study_says_so(work, monkeypatch):
    found = plan(n_layers=2)
    monkeypatch.setattr(planning, "is_done", lambda recipe, folder: True)
    assert "in all    all 3 trainings are done; only the report is written again" in described(found)


def test_the_report_is_the_last_part_of_a_study(work):
    found = plan(n_layers=1)
    progress = Progress(found, print)
    for recipe in found.recipes:
        progress.done(recipe)
    share = 1 - REPORT / (found.total_time - PLANNING)
    assert str(progress).startswith(f"{int(100 * share)}% of the study, ") and share < 0.9


def test_a_broken_picture_is_told_once(work, caplog):
    (work / "pictures" / "dark" / "000.png").write_bytes(b"no picture")
    plan(n_layers=1)
    assert caplog.text.count("000.png") == 1


def test_a_dry_run_writes_nothing(work, capsys):
    words = ["study", "study_nets:Net", "--weights", "net.pt", "--data", "pictures", "--dry-run"]
    assert command.main(words) == 0
    assert "studies/Net_pictures" in capsys.readouterr().out
    assert not (work / "studies").exists()


def test_costs_are_measured(work, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(work)
    monkeypatch.setattr(timing, "N_STEPS", 1)
    cost = timing.autoencoder_cost(
        {"Model": {"in_channels": 1, "in_size": 16, "n_down": 2, "z_dim": 4, "width": 4},
         "Loss": {"perceptual_weight": 0, "disc_start": None}},
        torch.zeros(2, 1, 16, 16) + torch.rand(2, 1, 16, 16),
        n_judged=10,
    )  # fmt: skip
    assert 0 < cost.step < 5
    assert cost.time(100) == cost.once + 100 * cost.step


def test_tiny_is_a_draft():
    assert TINY.name == "draft"
