"""Evaluation as it is used: after each epoch, by `edflow -p`, and in the report. Small networks, few steps."""

import csv
import json
import re
from pathlib import Path

import pytest
import requests

from invariances.cli import edflow
from invariances.cli import invariances as command
from invariances.evaluation.metrics.fid.inception import FILES
from invariances.training.run import Run
from tests.data import stand_ins

CONFIGS = Path(__file__).parents[2] / "configs"
DIGITS = CONFIGS / "digits"
QUICK = ["--trainer/accelerator", "cpu", "-l", "warning"]
AE = ["-b", DIGITS / "ae.yaml", "--Model/width", 4, "--Model/z_dim", 8, "--evaluation/grid/n_images", 2]
CINN = ["--Transformer/in_channels", 8, "--Transformer/mid_channels", 8, "--Transformer/n_flows", 2]
CINN += ["--baseline_dim", 8, "--evaluation/faithfulness/n_images", 60, "--evaluation/grid/n_images", 2]

pytestmark = pytest.mark.filterwarnings("ignore:.*images for .* features")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder where commands are typed one after another."""
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("INVARIANCES_DATA", str(folder / "data"))
        yield folder


def run(*words):
    """The run that an edflow command began or went on with."""
    assert edflow.main([str(word) for word in words]) == 0
    place = words[words.index("-p") + 1] if "-p" in words else "logs/latest"
    return Run.open(place)


def evaluations(run, part="train"):
    """The `metrics.json` of a run, oldest first."""
    found = [json.loads(path.read_text()) for path in run.path.glob(f"{part}/**/metrics.json")]
    return sorted(found, key=lambda facts: facts["time"])


@pytest.fixture(scope="module")
def networks(workplace):
    """A classifier and an autoencoder of digits."""
    few = ["-t", "--num_steps", 4, "--batch_size", 150, *QUICK]
    run("-b", DIGITS / "clf.yaml", *few), run(*AE, *few)


@pytest.fixture(scope="module")
def cinns(networks):
    """Conditional INNs of two layers, with a baseline and FID."""
    few = ["-t", "--num_steps", 3, "--batch_size", 150, "--fid/features", "random", *QUICK]
    layers = [DIGITS / "layers" / f"{layer}.yaml" for layer in ("logits", "conv3")]
    return [run("-b", DIGITS / "cinn.yaml", layer, *CINN, *few) for layer in layers]


def files(folder, but=()):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path not in but
    }


def test_an_earlier_run_is_evaluated_again_and_otherwise_left_alone(cinns, capsys):
    trained = cinns[0]
    before, last = files(trained.path), evaluations(trained)[-1]
    assert last["missing"] == {}
    capsys.readouterr()
    run("-p", trained.path, *QUICK)

    (folder,) = trained.path.glob("eval/*")
    config = [path for path in trained.path.glob("configs/*") if path not in before]
    after = files(trained.path)
    assert {path for path in after if path not in before} == {*config, *folder.rglob("*")}
    assert {path: after[path] for path in before} == before
    written = {path.name for path in folder.iterdir()}
    assert written >= {"metrics.json", "grid.png", "report.html", "ladder.csv", "faithfulness.csv"}
    found = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert found == pytest.approx(last["metrics"], abs=1e-6, rel=1e-6)
    assert {"fid_random", "cosine", "cosine_ci", "class_agreement_mlp"} <= found.keys()

    output = capsys.readouterr()
    assert re.search(r"cosine +0\.\d+ ± 0\.\d+", output.out)
    assert "cosine_random" not in output.out  # the numbers that stand beside others are in the report
    assert output.out.strip().endswith("report.html")
    assert "validation" in output.err  # the progress bar


def test_a_checkpoint_may_be_named(cinns):
    code = edflow.main(["-p", str(cinns[1].path), "-c", str(cinns[1].last_checkpoint()), *map(str, QUICK)])
    assert code == 0
    assert evaluations(cinns[1], "eval")[-1]["metrics"] == pytest.approx(evaluations(cinns[1])[-1]["metrics"], rel=1e-6)


def test_the_report_tells_all_of_every_layer(cinns):
    assert command.main(["report", *(str(run.path) for run in cinns), "-o", "out"]) == 0
    page = Path("out/report.html").read_text()
    with open("out/faithfulness.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == ["conv3", "logits"]
    metrics = evaluations(cinns[0])[-1]["metrics"]
    tables = {*rows[1], *Path("out/ladder.csv").read_text().splitlines()[0].split(",")}
    assert {name for name in metrics if not name.startswith("validation/")} <= tables  # none is left out
    for name in ("cosine_ci", "retrieval_mrr", "class_agreement_mlp", "variance_explained_by_v", "fid_random"):
        assert float(rows[1][name]) == pytest.approx(metrics[name], rel=1e-2, abs=1e-3)
    shown = ["rank of the input", "class among the first five", "Spearman", "explained by v", "class read from"]
    shown += ["MLP", "mean code", "class agreement × diversity", "fid random", "± "]
    for words in shown:
        assert words in page, words
    assert page.count('src="data:image/png') == 4  # two figures along the depth, and one of each layer
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_one_layer_has_no_depth_to_go_along(cinns):
    command.main(["report", str(cinns[0].path), "-o", "one"])
    page = Path("one/report.html").read_text()
    assert "From logits to" not in page and "1. logits" in page
    assert page.count('src="data:image/png') == 1


def test_factors_of_a_disentangling_inn_are_named_in_the_config(cinns):
    overrides = ["--Transformer/in_channel", 8, "--Transformer/factor_config", [2, 2, 4], "--Transformer/n_flow", 2]
    overrides += ["--Transformer/hidden_dim", 8, "--evaluation", None, "--first_stage/checkpoint", "latest:digits_ae"]
    words = [json.dumps(word) if isinstance(word, list | None) else word for word in overrides]
    run("-b", DIGITS / "diin.yaml", *words, "-t", "--num_steps", 2, "--batch_size", 50, *QUICK)
    names = ["--evaluation/faithfulness/factor_names", "[digit, colour, residual]", "--fid", "null"]
    run("-p", cinns[0].path, "--evaluation/faithfulness/factors", "{checkpoint: latest:digits_diin}", *names, *QUICK)
    found = evaluations(cinns[0], "eval")[-1]
    assert found["missing"] == {}
    for name in ("digit", "colour", "residual"):
        assert found["metrics"][f"factor_{name}_explained_by_z"] <= 1
    newest = max(cinns[0].path.glob("eval/*/report.html"), key=lambda path: path.stat().st_mtime_ns)
    assert "factors known to the layer" in newest.read_text()


@pytest.fixture(scope="module")
def mnist(workplace):
    """A first stage and a classifier of small files in the layout of MNIST."""
    stand_ins.write_mnist(workplace / "data", n_train=20, n_test=6)
    few = ["-t", "--num_steps", 2, "--batch_size", 10, "--Model/width", 4, *QUICK]
    run("-b", CONFIGS / "mnist_ae.yaml", *few, "--Loss/perceptual_weight", 0, "--fid", "null", "--fid_stats", "null")
    data = ["--datasets/train=invariances.data.MNISTTrain", "--datasets/validation=invariances.data.MNISTTest"]
    run("-b", CONFIGS / "fashionmnist_clf.yaml", *few, *data, "--experiment_name", "mnist_clf")


def absent(*_, **__):
    raise requests.ConnectionError("no route to host")


@pytest.mark.parametrize(
    ("mode", "words", "name"),
    [
        pytest.param("present", [], "fid_inception", marks=pytest.mark.slow),
        ("absent", [], "fid_random"),
        ("random", ["--fid/features", "random", "--fid_stats", "null"], "fid_random"),
        (
            "ours",
            ["--fid/features", "{checkpoint: latest:mnist_clf, layer: encoder}", "--fid/features_name", "mnist_clf"],
            "fid_mnist_clf",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*not the published weights")
def test_fid_after_each_epoch_and_again(mnist, hub, weights, monkeypatch, mode, words, name):
    monkeypatch.setattr(requests, "get", absent)
    if mode == "present":
        (hub / FILES[0]).symlink_to(weights)
    few = ["-t", "--num_epochs", 2, "--batch_size", 10, "--Transformer/n_flow", 2, "--Transformer/hidden_dim", 8]
    few += [f"--fid_stats/pre_calc_stat_path=fid_stats/{mode}.npz"] * ("--fid_stats" not in words)
    base = ["-b", CONFIGS / "mnist_iin.yaml", "--evaluation/grid", "null", "--evaluation/interpolations", "null"]
    if mode == "absent":
        with pytest.warns(UserWarning, match="Inception's weights are not there"):
            trained = run(*base, *few, *words, *QUICK)
    else:
        trained = run(*base, *few, *words, *QUICK)
    found = evaluations(trained)
    assert [facts["step"] for facts in found] == [2, 4]
    assert all(name in facts["metrics"] and facts["missing"] == {} for facts in found)
    assert found[0]["metrics"][name] != found[1]["metrics"][name]
    assert Path(f"fid_stats/{mode}.npz").exists() == (mode in ("present", "ours"))
    run("-p", trained.path, *QUICK)
    (again,) = evaluations(trained, "eval")
    assert again["metrics"] == pytest.approx(found[-1]["metrics"], rel=1e-6, abs=1e-6)


def test_a_metric_that_fails_is_missing_with_its_reason_and_ends_nothing(mnist, caplog):
    few = ["-t", "--num_epochs", 1, "--batch_size", 10, "--Transformer/n_flow", 2, "--Transformer/hidden_dim", 8]
    Path("broken.npz").write_bytes(b"no statistics")
    words = ["--fid/features", "random", "--fid_stats/pre_calc_stat_path", "broken.npz"]
    trained = run("-b", CONFIGS / "mnist_iin.yaml", *few, *words, *QUICK)
    (found,) = evaluations(trained)
    assert "broken.npz: cannot be read as reference statistics" in found["missing"]["fid"]
    assert "evaluation fid is missing at step 2" in caplog.text
    assert trained.last_checkpoint().name == "model-2.ckpt"
