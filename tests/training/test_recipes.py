"""The published recipes as commands, on digits: what a run takes from other runs, and data that is odd."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from invariances.cli import edflow
from invariances.cli import invariances as command
from invariances.config.parts import build_networks
from invariances.config.reading import read
from invariances.config.resolving import resolve_checkpoints
from invariances.data.base import ImageSet
from invariances.data.colors import ColorfulPairs
from invariances.data.sets.digits import digits
from invariances.flows.released import as_released
from invariances.models import Autoencoder, Classifier, DigitClassifier, Greybox
from invariances.models.released_names import released_names
from invariances.training.run import Run, resolve_checkpoint
from invariances.utils import checkpoints

DIGITS = Path(__file__).parents[2] / "configs" / "digits"
QUICK = ["--batch_size", 50, "--trainer/accelerator", "cpu", "-l", "warning"]
SMALL = {
    "clf": [],
    "iin": ["--Transformer/hidden_dim", 8, "--Transformer/n_flow", 2, "--evaluation/grid/n_images", 2],
    "diin": ["--Transformer/hidden_dim", 8, "--Transformer/n_flow", 2, "--evaluation/grid/n_images", 2],
    "clf_diin": ["--Transformer/hidden_dim", 8, "--Transformer/n_flow", 2, "--evaluation/response/n_draws", 20],
    "ae": ["--Model/width", 4, "--evaluation/grid/n_images", 2],
    "gan": ["--Model/width", 4, "--evaluation/grid/n_images", 2],
    "pairs_ae": ["--Model/width", 4, "--evaluation/grid/n_images", 2],
    "pairs_clf": ["--Model/width", 4],
}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words):
    return edflow.main([str(word) for word in words])


def train(name, *words, steps=2):
    """The run that a config of the digits makes in a few steps."""
    base = ["-b", DIGITS / f"{name}.yaml", "-t", *SMALL[name], *QUICK, "--num_steps", steps]
    assert run(*base, "--decay_start", 1, *words) == 0
    return newest(name)


def newest(name):
    """The run of a config that was begun last."""
    runs = [path for path in Path("logs").iterdir() if re.search(rf"_digits_{name}(-\d+)?$", path.name)]
    return Run.open(max(runs, key=lambda path: path.stat().st_ctime_ns))


def refused(capsys, name, *words):
    """The one line that a command ends with."""
    capsys.readouterr()
    assert run("-b", DIGITS / f"{name}.yaml", "-t", *SMALL[name], *QUICK, *words) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def metrics(run):
    return max((json.loads(path.read_text()) for path in run.path.rglob("metrics.json")), key=lambda m: m["time"])


def test_a_released_file_is_evaluated(tmp_path):
    autoencoder = Autoencoder(in_channels=3, in_size=32, n_down=4, z_dim=32, width=4)
    autoencoder(torch.rand(4, 3, 32, 32))  # initialises the ActNorms
    names = released_names(len(autoencoder.decoder.blocks))
    torch.save({"model": dict(as_released(autoencoder.state_dict(), names)), "optimizer": {}}, tmp_path / "a.ckpt")
    assert run("-b", DIGITS / "ae.yaml", "-c", tmp_path / "a.ckpt", *SMALL["ae"], *QUICK) == 0
    assert metrics(newest("ae"))["step"] == 0


class TestFactorConfig:
    def test_auto_is_what_the_evaluation_measures(self):
        first_stage = train("pairs_ae")
        diin = train("diin", "--evaluation/swaps/classifier", "null")
        assert run("-p", first_stage.path, "-b", DIGITS / "dimeval.yaml", "-l", "warning") == 0
        (path,) = first_stage.path.rglob("factors.json")
        sizes = json.loads(path.read_text())["sizes"]
        assert diin.config()["Transformer"]["factor_config"] == sizes and sum(sizes) == 32
        assert metrics(diin)["factors"] == dict(zip(("digit", "colour", "residual"), sizes, strict=True))
        assert metrics(first_stage)["metrics"]["size_digit"] == sizes[0]

        from_file = train("diin", "--evaluation/swaps/classifier", "null", "--Transformer/factor_config", path)
        assert from_file.config()["Transformer"]["factor_config"] == sizes

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("[10, 5, 16]", "factor_config is [10, 5, 16], 3 sizes with sum 31; expected 3 (n_factors) of 1 or more "
             "with sum 32 (in_channel)"),
            ("[10, 5, 18]", "sum 33; expected 3 (n_factors) of 1 or more with sum 32"),
            ("[10, 22]", "2 sizes with sum 32; expected 3"),
            ("[32, 0, 0]", "[32, 0, 0], 3 sizes with sum 32; expected 3 (n_factors) of 1 or more"),
            ("[38, -6, 0]", "expected 3 (n_factors) of 1 or more"),
            ("[10.0, 5, 17]", "factor_config: [10.0, 5, 17] is a list; expected a list of whole numbers or null"),
            ("'10,5,17'", "factor_config: 10,5,17 cannot be read: No such file or directory; expected a list of sizes"),
        ],
    )  # fmt: skip
    def test_sizes_that_do_not_fit(self, value, message, capsys):
        train("pairs_ae")
        given = ["--evaluation/swaps/classifier", "null", "--Transformer/factor_config", value]
        assert message in refused(capsys, "diin", *given)
        assert len(list(Path("logs").glob("*_diin"))) == 0

    def test_sizes_add_up_without_a_config(self):
        train("pairs_ae")
        diin = train("diin", "--evaluation/swaps/classifier", "null", "--Transformer/factor_config", "null")
        assert list(metrics(diin)["factors"].values()) == [11, 11, 10]

    @pytest.mark.parametrize("content", ["{}", "[1]", "{", '{"size": 1}'])
    def test_a_file_without_sizes(self, content, capsys):
        train("pairs_ae")
        Path("factors.json").write_text(content)
        given = ["--evaluation/swaps/classifier", "null", "--Transformer/factor_config", "factors.json"]
        message = refused(capsys, "diin", *given)
        assert message.startswith("edflow: error: Transformer/factor_config: factors.json holds no sizes; expected")

    @pytest.mark.parametrize(("n_factors", "in_channel"), [(33, 32), (10**12, 10**13)])
    def test_auto_wants_no_more_factors_than_channels(self, n_factors, in_channel, capsys):
        """Refused before memory is taken by the number of factors, whatever `in_channel` says of the codes."""
        train("pairs_ae")
        given = ["--evaluation/swaps/classifier", "null", "--Transformer/factor_config", "auto"]
        given += ["--Transformer/n_factors", n_factors, "--Transformer/in_channel", in_channel]
        message = f"auto: n_factors is {n_factors}, but codes of 32 channels have at most 32 factors"
        assert message in refused(capsys, "diin", *given)

    def test_auto_wants_pairs(self, capsys):
        train("pairs_ae")
        given = ["--evaluation/swaps/classifier", "null", "--datasets/validation", "invariances.data.DigitsTest"]
        assert "Transformer/factor_config: auto: examples hold image, class" in refused(capsys, "diin", *given)


class TestNetworksOfOtherRuns:
    def test_checkpoints_are_found_wherever_they_stand(self):
        clf = train("clf")
        file = str(clf.last_checkpoint())
        config = {
            "Loss": {"perceptual": {"checkpoint": "latest:digits_clf", "layers": ["conv1"]}},
            "evaluation": {"swaps": {"classifier": {"checkpoint": file}}, "grid": None},
            "notes": {"checkpoint": "latest:whatever"},
            "batch_size": 3,
        }
        resolved = resolve_checkpoints(config, resolve_checkpoint)
        assert resolved["Loss"]["perceptual"] == {"checkpoint": file, "layers": ["conv1"]}
        assert resolved["evaluation"] == config["evaluation"] and resolved["notes"] == config["notes"]

    def test_the_missing_one_is_named_with_the_command_that_makes_it(self, capsys):
        Path("configs").symlink_to(DIGITS.parent)
        message = refused(capsys, "gan")
        assert message == (
            "edflow: error: Loss/perceptual/checkpoint: latest:digits_clf: no such run with a checkpoint in logs; "
            "create one with: edflow -b configs/digits/clf.yaml -t"
        )
        assert "first_stage/checkpoint: latest:digits_ae" in refused(capsys, "iin")

    def test_networks_take_the_place_of_what_names_them(self):
        file = str(train("clf").last_checkpoint())
        section = {
            "network": {"checkpoint": file},
            "layer": {"checkpoint": file, "layer": "conv2"},
            "named": {"model": "invariances.models.DigitClassifier", "layer": "conv1"},
            "other": {"class": "a.B", "model": "text", "layer": "text"},
            "among": {"checkpoint": file, "layers": ["conv1"]},
            "deep": {"er": {"checkpoint": file}},
            "number": 3,
        }
        built = build_networks(section, "evaluation")
        assert isinstance(built["network"], DigitClassifier) and not built["network"].training
        assert isinstance(built["layer"], Greybox) and built["layer"].layer == "conv2"
        assert isinstance(built["named"], Greybox) and built["named"].layer == "conv1"
        assert built["other"] == section["other"]
        assert isinstance(built["among"]["checkpoint"], DigitClassifier) and built["among"]["layers"] == ["conv1"]
        assert isinstance(built["deep"]["er"], DigitClassifier) and built["number"] == 3
        assert section["network"] == {"checkpoint": file}

    def test_a_perceptual_distance_in_the_features_of_a_run(self):
        clf = train("clf")
        before = clf.last_checkpoint().read_bytes()
        gan = train("gan", "--Loss/disc_start", 1, "--Loss/disc_width", 4, "--fid", "null", steps=3)
        numbers = metrics(gan)["metrics"]
        assert numbers["validation/perceptual_loss"] > 0
        names = checkpoints.load(gan.last_checkpoint())["state_dict"]
        assert not any("perceptual" in name for name in names) and any("discriminator" in name for name in names)
        assert clf.last_checkpoint().read_bytes() == before

    def test_fid_in_the_features_of_a_run(self, monkeypatch, tmp_path):
        monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))
        train("pairs_clf"), train("ae")
        features = "{checkpoint: latest:digits_pairs_clf, layer: encoder}"
        trained = train("iin", "--fid/features", features, "--fid/features_name", "ours")
        at_end = metrics(trained)["metrics"]
        assert at_end["fid_ours"] > 0
        assert run("-p", trained.path, "-l", "warning") == 0
        assert metrics(trained)["metrics"]["fid_ours"] == pytest.approx(at_end["fid_ours"], rel=1e-6)

    def test_statistics_go_into_the_file_that_is_named_but_not_those_of_a_debug_run(self, monkeypatch, tmp_path):
        monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))
        fid = ["--fid/features", "random", "--fid_stats/pre_calc_stat_path", "stats/digits.npz"]
        assert run("-b", DIGITS / "ae.yaml", "-t", "-d", *SMALL["ae"], *QUICK, *fid) == 0
        assert not Path("stats").exists()
        trained = train("ae", *fid)
        assert Path("stats/digits.npz").exists() and metrics(trained)["metrics"]["fid_random"] > 0

    def test_a_kind_of_value_that_is_no_network(self, capsys):
        message = refused(capsys, "diin", "--evaluation/swaps/classifier", "conv1")
        assert "evaluation/swaps/classifier: \"conv1\" is text; expected a network as {checkpoint: …}, or {" in message


def test_pictures_while_training_and_one_that_fails_is_logged_once(caplog, monkeypatch):
    train("pairs_ae")
    monkeypatch.setattr("invariances.evaluation.pictures.walks.grid", lambda *_, **__: 1 / 0)
    without_judge = ["--evaluation/swaps/classifier", "null"]
    diin = train("diin", "--log_freq", 2, *without_judge, "--evaluation/swaps/n_images", 2, steps=6)
    names = {path.name for path in (diin.path / "train" / "pictures").iterdir()}
    stems = ("grid", "interpolations", "swaps_digit", "swaps_colour", "swaps_residual")
    assert names == {f"{stem}-{step:08d}.png" for stem in stems for step in (2, 4, 6)}
    messages = [record.message for record in caplog.records if "picture walks" in record.message]
    assert messages == ["picture walks is missing from step 2 on: ZeroDivisionError: division by zero"]


def test_the_report_tells_what_factors_stand_for():
    train("pairs_ae"), train("pairs_clf")
    judged = train("diin")
    cut = train("clf_diin", "--Transformer/factor_config", "[10, 5, 17]")
    assert command.main(["report", str(judged.path), str(cut.path), "-o", "out"]) == 0
    page = Path("out/report.html").read_text()
    assert page.count("<h2>Meaning of the factors") == 2 and "What each layer keeps" not in page.split("<body>")[1]
    assert "class becomes the donor" in page and "predicted class changes" in page and "Random walks in colour" in page
    assert f"{metrics(cut)['metrics']['response_digit_sigma']:.3f}" in page
    assert page.count("<img") == len(list(Path("out").glob("*.png"))) == 3 + 3 + 1 + 1  # swaps, walks, ways, response
    assert not Path("out/ladder.csv").exists()


class SomeDigits(ImageSet):
    """The first n digits; picture `broken` is NaN."""

    def __init__(self, n: int, broken: int | None = None) -> None:
        images, labels = digits("train")
        super().__init__(images[:n], {"class": labels["class"][:n]}, seed=0)
        self.broken = broken

    def make(self, index, draws):
        batch = super().make(index, draws)
        batch["image"][index == self.broken] = math.nan
        return batch


class BrokenPairs(ColorfulPairs):
    """Pairs of digits, of which number 30 has a NaN in its second example."""

    def __init__(self) -> None:
        images, labels = digits("train")
        super().__init__(images[:100], {"class": labels["class"][:100]}, seed=0)

    def make(self, index, draws):
        batch = super().make(index, draws)
        batch["example2"][index == 30] = math.nan
        return batch


def some(n, split="train", **arguments):
    return [f"--datasets/{split}", json.dumps({"class": "tests.training.test_recipes.SomeDigits", "n": n, **arguments})]


GREY_CLF = ["--model", "invariances.models.Classifier", "--Model/in_channels", 1, "--Model/in_size", 32]
GREY_CLF += ["--Model/n_down", 4, "--Model/z_dim", 8, "--Model/norm"]


def counted(run):
    return int(checkpoints.load(run.last_checkpoint())["state_dict"]["step"])


class TestFewExamples:
    """Batches of 25: what is left over, and sets smaller than a batch."""

    @pytest.mark.parametrize("norm", ["an", "bn"])
    @pytest.mark.parametrize("n", [1, 7, 24, 25, 26])
    def test_a_classifier(self, n, norm):
        words = [*GREY_CLF, norm, *some(n), *some(1, "validation"), "--batch_size", 25]
        trained = train("clf", *words, "--Model/width", 4, steps=3)
        assert counted(trained) == 3 and metrics(trained)["metrics"]["validation/accuracy"] in (0, 1)

    def test_images_of_another_kind(self, capsys):
        message = refused(capsys, "clf", *GREY_CLF, "an", "--Model/width", 4)
        assert "the first batch is refused: images have shape (50, 3, 32, 32); expected (B, 1, 32, 32)" in message

    def test_none_at_all(self, capsys):
        assert "SomeDigits has 0 examples; expected 1 or more" in refused(capsys, "clf", *some(0))

    @pytest.mark.parametrize("n", [7, 26])
    def test_an_inn(self, n):
        train("ae", "--Model/in_channels", 1, *some(50), *some(7, "validation"))
        trained = train("iin", *some(n), *some(1, "validation"), "--batch_size", 25, steps=3)
        assert counted(trained) == 3 and math.isfinite(metrics(trained)["metrics"]["validation/loss"])

    def test_one_code_is_too_few_to_start_an_inn_on(self, capsys):
        train("ae", "--Model/in_channels", 1, *some(50), *some(7, "validation"))
        message = refused(capsys, "iin", *some(1), *some(1, "validation"), "--batch_size", 25)
        expected = "edflow: error: datasets/train: 1 example(s), batch_size 25; the first batch is refused: "
        assert message.startswith(expected) and "expected at least 2 values per channel" in message
        assert not list(Path("logs").glob("*_iin*"))

    def test_all_validation_examples_count(self):
        words = [*GREY_CLF, "bn", "--Model/width", 4, *some(50), "--batch_size", 25]
        trained = train("clf", *words, *some(26, "validation"))
        accuracy = metrics(trained)["metrics"]["validation/accuracy"] * 26
        assert accuracy == pytest.approx(round(accuracy), abs=1e-4)


class TestBrokenExamples:
    def test_an_inn_stops_and_keeps_its_last_good_checkpoint(self, capsys):
        train("ae", "--Model/in_channels", 1, *some(50), *some(7, "validation"))
        words = [*some(100, broken=30), *some(7, "validation"), "--batch_size", 5, "--num_steps", 20]
        message = refused(capsys, "iin", *words, "--ckpt_freq", 1, "--decay_start", 1)
        assert "the loss is not finite" in message and "train/loss = nan" in message
        self.check(newest("iin"))

    def test_so_does_a_disentangling_inn(self, capsys):
        train("pairs_ae")
        words = ["--datasets/train", "tests.training.test_recipes.BrokenPairs", "--batch_size", 5, "--num_steps", 20]
        words += ["--evaluation/swaps/classifier", "null", "--ckpt_freq", 1, "--decay_start", 1]
        assert "train/loss = nan" in refused(capsys, "diin", *words)
        self.check(newest("diin"))

    @staticmethod
    def check(broken):
        if broken.has_checkpoints:  # the broken example may come first
            weights = checkpoints.load(broken.last_checkpoint())["state_dict"]
            assert all(weight.isfinite().all() for weight in weights.values())


def test_sizes_of_first_stage_and_flow_are_compared(capsys):
    train("ae")
    message = refused(capsys, "iin", "--Transformer/in_channel", 30)
    assert message.endswith("the codes of first_stage have 32 channels; use 32")


def test_a_task_on_pairs_says_so_of_other_data(capsys):
    train("pairs_ae")
    words = ["--evaluation/swaps/classifier", "null", "--datasets/train", "invariances.data.ColorfulDigitsTrain"]
    message = refused(capsys, "diin", *words)
    assert "the examples have image, hue, class; DIINIterator also needs factor, example1, example2" in message


def test_a_classifier_has_the_size_of_its_codes():
    assert Classifier(3, 32, 4, 12, 10, width=2).z_dim == 12
    section = read([DIGITS / "clf_diin.yaml"])["Transformer"]
    assert section["in_channel"] == read([DIGITS / "pairs_clf.yaml"])["Model"]["z_dim"]
    assert torch.is_tensor(Classifier(3, 32, 4, 12, 10, norm="bn", width=2).eval().encode(torch.zeros(1, 3, 32, 32)))
