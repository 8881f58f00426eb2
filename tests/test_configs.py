"""Every config that is shipped: launched as its first lines say, on small files in the true layouts of the data."""

import json
import re
import shlex
import shutil
import time
from operator import itemgetter
from pathlib import Path

import pytest

from invariances.cli import edflow
from invariances.config.checking import check
from invariances.config.reading import read, read_file
from invariances.training.run import Run
from tests.data import stand_ins

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.relative_to(ROOT) for path in ROOT.glob("configs/**/*.yaml"))
RECIPES = [
    "mnist_ae", "fashionmnist_ae", "cifar_ae", "celeba_ae", "cmnist_ae", "cmnist_clf",
    "cmnist_dimeval", "mnist_iin", "fashionmnist_iin", "cifar_iin", "celeba_iin", "cmnist_diin",
    "celeba_diin", "cmnist_clf_diin", "project",
]
TITLES = [path.relative_to("configs").with_suffix("").as_posix() for path in CONFIGS]
SMALL = {  # networks that are quick to build, run and save
    "Model/width": 4,
    "Transformer/hidden_dim": 16,
    "Transformer/mid_channels": 16,
    "Loss/disc_width": 4,
    "evaluation/grid/n_images": 2,
    "AutoencoderModel/subconfig/Model/type": "resnet18",
    "AutoencoderModel/subconfig/Model/width": 4,
}
FULL_SIZE = ("alexnet", "efficientnet", "resnet", "folder/cinn")  # of the network under study
LARGE = [path for path in CONFIGS if path.relative_to("configs").as_posix().startswith(FULL_SIZE)]


def commands(path: Path) -> list[list[str]]:
    """The commands in a config's first lines that use it, ready to run."""
    head = (ROOT / path).read_text().split("\n\n")[0]
    found = re.findall(r"^#   (edflow .+?)(?:  .*)?$", head, re.MULTILINE)
    found = [line.replace("FOLDER", "my_pictures") for line in found]
    return [shlex.split(line)[1:] for line in found if path.as_posix() in line and "CKPT" not in line]


def files(words: list[str]) -> list[str]:
    return [word for word in words if word.endswith(".yaml")]


def experiments() -> dict[str, Path]:
    """Name of an experiment -> config that makes it."""
    named = {read_file(ROOT / path).get("experiment_name"): path for path in CONFIGS}
    return {name: path for name, path in named.items() if name is not None}


class Workplace:
    """A folder to type commands in; what one of them needs is made by others first."""

    def __init__(self, overrides: dict[str, int]) -> None:
        self.overrides, self.launched = overrides, set()

    def launch(self, path: Path) -> list[float]:
        """Run the commands of a config; how long each took, in seconds."""
        self.launched.add(path)
        return [self.run(words) for words in commands(path)]

    def run(self, words: list[str]) -> float:
        text = " ".join([*words, *((ROOT / file).read_text() for file in files(words))])
        for name in re.findall(r"(?<=latest:)\w+", "\n".join(re.sub("#.*", "", line) for line in text.split("\n"))):
            needed = experiments()[name]
            if needed not in self.launched:
                self.launch(needed)
        start = time.monotonic()
        assert edflow.main([*words, "-d", "-l", "warning", *self.small(words)]) == 0
        return time.monotonic() - start

    def small(self, words: list[str]) -> list[str]:
        """Overrides: of the sizes that the config has, and of what would be downloaded."""
        config = read([ROOT / file for file in files(words)])
        overrides = {key: value for key, value in self.overrides.items() if self.has(config, key)}
        if "subconfig" in config.get("AutoencoderModel", {}):
            overrides |= {"AutoencoderModel/checkpoint": "null", "batch_size": 4}
            # random networks respond nearly alike to all images: a flow on them is thrown far off by a usual step
            overrides["learning_rate"] = 1e-9
        if "weights" in config.get("GreyboxModel", {}):
            overrides["GreyboxModel/weights"] = "null"
        if "perceptual" not in config.get("Loss", {"perceptual": None}):
            overrides["Loss/perceptual_weight"] = 0
        return [f"--{key}={value}" for key, value in (overrides | {"trainer/accelerator": "cpu"}).items()]

    @staticmethod
    def has(config: dict, key: str) -> bool:
        section, name, *_ = key.split("/")
        if key == "Model/width" and "DigitClassifier" in config.get("model", ""):
            return False  # the INNs on its layers count on it
        return section in config and ("width" in name or config[section].get(name) is not None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in ("MNIST", "FashionMNIST"):
        stand_ins.write_mnist(root, name, n_train=50)
    stand_ins.write_cifar(root)
    stand_ins.write_celeba(root, n=78)
    stand_ins.write_animals(root)
    return root


def full_precision(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("INVARIANCES_DATA", str(data))
    monkeypatch.setenv("TORCH_HOME", str(folder))  # no weights are there
    monkeypatch.setattr("invariances.evaluation.metrics.fid.fid.inception", no_weights)
    if not Path("configs").exists():
        Path("configs").symlink_to(ROOT / "configs")
        Path("my_pictures").symlink_to(data / "imagenet" / "train")
        shutil.copy(ROOT / "configs/custom/my_models.py", folder)


def no_weights(*_):
    from invariances.evaluation.metrics.fid.inception import WeightsMissing

    raise WeightsMissing("no weights in this test")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return tmp_path_factory.mktemp("small"), Workplace(SMALL)


def test_all_configs_are_seen():
    assert {f"configs/{name}.yaml" for name in RECIPES} <= {path.as_posix() for path in CONFIGS}
    assert len(CONFIGS) == len(list((ROOT / "configs").rglob("*.y*ml"))) >= 30


@pytest.mark.parametrize("path", CONFIGS, ids=TITLES)
def test_a_config_opens_with_what_it_is_and_the_command_that_launches_it(path):
    assert re.match(r"# [A-Z]\w* \w+", (ROOT / path).read_text())
    assert commands(path)


def slow_if_large(path: Path) -> object:
    marks = [pytest.mark.slow] if path in LARGE else []
    return pytest.param(path, id=path.relative_to("configs").with_suffix("").as_posix(), marks=marks)


@pytest.mark.parametrize("path", LARGE, ids=str)
def test_a_large_config_is_checked(path):
    for words in commands(path):
        assert check(read([ROOT / file for file in files(words)]), train="-t" in words)


@pytest.mark.filterwarnings("ignore:fid_|no weights in this test|.*pixels are NaN")
@pytest.mark.parametrize("path", [slow_if_large(path) for path in CONFIGS])
def test_a_config_runs_as_its_first_lines_say(path, small, data, monkeypatch, caplog):
    folder, workplace = small
    full_precision(folder, data, monkeypatch)
    workplace.launch(path)
    assert "is missing" not in caplog.text
    run = Run.open("logs/latest")
    assert run.has_checkpoints or "-t" not in commands(path)[-1]
    newest = max((json.loads(path.read_text()) for path in run.path.rglob("metrics.json")), key=itemgetter("time"))
    assert newest["missing"] == {} and newest["metrics"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:fid_|no weights in this test")
def test_debug_runs_at_full_size_take_seconds(tmp_path, data, monkeypatch):
    full_precision(tmp_path, data, monkeypatch)
    workplace = Workplace({})
    for path in set(CONFIGS) - set(LARGE):
        assert max(workplace.launch(path)) < 20, path
