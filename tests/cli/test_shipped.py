"""`invariances ls`, `cp`, `validate`, `data`; configs of the package in a folder that has none."""

import logging
from pathlib import Path

import pytest

import invariances.data
from invariances.cli import invariances as command
from invariances.config.reading import read_file
from invariances.utils.shipped_configs import ROOT, config_files, find_config

CLF = "configs/digits/clf.yaml"


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """A working folder without configs."""
    monkeypatch.chdir(tmp_path)


def out(capsys, *words):
    assert command.main(list(words)) == 0
    return capsys.readouterr().out.splitlines()


def complaint(capsys, *words):
    assert command.main(list(words)) == 2
    return capsys.readouterr().err.splitlines()


class TestFinding:
    def test_the_packages_own_config_is_found_and_told(self, caplog):
        caplog.set_level(logging.INFO)
        assert read_file(find_config(CLF))["experiment_name"] == "digits_clf"
        assert caplog.messages == [f"{CLF}: not in this folder; the package's own is used"]

    def test_ones_own_comes_first(self, caplog):
        Path("configs/digits").mkdir(parents=True)
        Path(CLF).write_text("experiment_name: mine\n")
        caplog.set_level(logging.INFO)
        assert read_file(find_config(CLF))["experiment_name"] == "mine"
        assert caplog.messages == []
        assert config_files()[CLF] == Path(CLF)

    @pytest.mark.parametrize("name", ["configs/nowhere.yaml", "digits/clf.yaml", "configs/../configs/mnist_ae.yaml"])
    def test_other_paths_stay_as_they_are(self, name):
        assert find_config(name) == Path(name)

    def test_all_configs_are_in_the_package(self):
        clone = Path(__file__).parents[2]
        assert {path.relative_to(clone).as_posix() for path in clone.glob("configs/**/*.yaml")} == {*config_files()}


class TestLs:
    def test_a_line_for_each(self, capsys):
        lines = out(capsys, "ls")
        assert len(lines) == len(config_files())
        assert f"{CLF}  The classifier under study" in " ".join(" ".join(lines).split()).replace(CLF, f"{CLF} ")
        assert all(len(line.split(maxsplit=1)) == 2 for line in lines)

    def test_a_part(self, capsys):
        assert [line.split()[0] for line in out(capsys, "ls", "mnist_iin")] == [
            "configs/fashionmnist_iin.yaml",
            "configs/mnist_iin.yaml",
        ]
        assert complaint(capsys, "ls", "zebra") == [
            "invariances: error: zebra: no config has this in its path; see invariances ls"
        ]


class TestCp:
    def test_a_file_to_where_edflow_finds_it(self, capsys):
        assert out(capsys, "cp", "digits/clf") == [CLF]
        assert Path(CLF).read_bytes() == (ROOT / "digits/clf.yaml").read_bytes()
        assert find_config(CLF) == Path(CLF) and Path(CLF).exists()

    def test_a_folder_into_a_folder(self, capsys):
        Path("mine").mkdir()
        copies = out(capsys, "cp", "configs/digits/layers", "mine")
        assert "mine/layers/conv1.yaml" in copies and len(copies) == 5
        assert all(Path(copy).is_file() for copy in copies)

    def test_nothing_is_overwritten(self, capsys):
        Path("clf.yaml").write_text("mine")
        assert complaint(capsys, "cp", "digits/clf", "clf.yaml") == [
            "invariances: error: clf.yaml: is there already, and is not overwritten; remove it, or name another place"
        ]
        assert Path("clf.yaml").read_text() == "mine"

    @pytest.mark.parametrize("name", ["digits/clff", "..", "../setup.py", "", "configs"])
    def test_what_is_not_in_the_package(self, capsys, name):
        [line] = complaint(capsys, "cp", name)
        assert line.startswith(f"invariances: error: {name}: no such config in the package")
        assert ("did you mean digits/clf?" in line) == (name == "digits/clff")


class TestValidate:
    def test_a_good_one(self, capsys):
        assert out(capsys, "validate", CLF, "--batch_size", "10") == [f"{CLF}: valid"]

    def test_missing_checkpoints_are_told_and_are_no_mistake(self, capsys):
        files = ["configs/digits/cinn.yaml", "configs/digits/layers/conv1.yaml"]
        assert out(capsys, "validate", *files) == [
            f"{' '.join(files)}: valid",
            *(
                f"not there yet: latest:digits_{name}: no such run with a checkpoint in logs; "
                f"create one with: edflow -b configs/digits/{name}.yaml -t"
                for name in ("clf", "ae")
            ),
        ]

    def test_all_mistakes(self, capsys):
        lines = complaint(capsys, "validate", CLF, "--batch_size", "0", "--Model/widht=3")
        assert lines[0] == "invariances: error: 2 mistakes in the config"
        assert "Model/widht: unknown argument of DigitClassifier; did you mean width?" in lines[-1] + lines[-2]

    def test_nothing_to_check(self, capsys):
        assert complaint(capsys, "validate") == ["invariances: error: no config to check; name one or more files"]
        assert "did you mean configs/digits/clf.yaml?" in complaint(capsys, "validate", "configs/digits/clff.yaml")[0]


class TestData:
    def test_every_data_set_is_on_one_page(self, capsys):
        lines = out(capsys, "data")
        assert {*invariances.data.__all__} == {line.split()[0] for line in lines if line.startswith("  ")}
        assert len(lines) < 100
        [line] = [line for line in lines if line.split()[:1] == ["CIFAR10Train"]]
        assert line.split(maxsplit=3)[1:3] == ["32", "px"]
        assert "50,000 photographs: image (3, size, size) in [-1, 1), class in {0 … 9}." in line

    def test_a_part(self, capsys):
        assert [line.split()[0] for line in out(capsys, "data", "celeba")[1:]] == [
            "CelebATest", "CelebATrain", "CelebAValidation", "FactorCelebATest", "FactorCelebATrain"
        ]
        assert "zebra: no data set has this in its name" in complaint(capsys, "data", "zebra")[0]
