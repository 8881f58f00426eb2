"""The 37 configs of the older projects, written from what is known of them: launched, and what each needs first."""

import json
import re

import pytest

from invariances.cli import edflow
from invariances.config.building import build_iterator
from invariances.config.checking import check
from invariances.config.older.aliases import is_old
from invariances.config.reading import read
from invariances.losses import perceptual
from invariances.training.run import Run
from invariances.utils.download import DownloadError
from invariances.zoo import store
from tests.config.older import older_projects, released
from tests.data import stand_ins

COMMANDS = dict(zip(older_projects.CONFIGS, older_projects.commands(), strict=True))
BY_HAND = r"could not download [\w.-]+ from https://\S+"
FIRST_STAGE = "first_stage/checkpoint: logs/{0}/train/checkpoints/model.ckpt: no such file"
ZOO = "AutoencoderModel/checkpoint: {0}: " + BY_HAND

# One row for each config: whether it trains, and the line with which it stops where the weights that it names are not
# there. None: it needs none.
TABLE = {
    "iin/mnist_ae": (True, BY_HAND),
    "iin/fashionmnist_ae": (True, BY_HAND),
    "iin/cmnist_ae": (True, BY_HAND),
    "iin/cifar_ae": (True, BY_HAND),
    "iin/celeba_ae": (True, BY_HAND),
    "iin/cmnist_clf": (True, None),
    "iin/cmnist_dimeval": (False, r"nothing to do: add -t to train, or -c CKPT to evaluate a checkpoint"),
    "iin/cmnist_diin": (True, FIRST_STAGE.format("cmnist_ae")),
    "iin/cmnist_clf_diin": (True, FIRST_STAGE.format("cmnist_clf")),
    "iin/celeba_diin": (True, FIRST_STAGE.format("celeba_ae")),
    "iin/mnist_iin": (True, FIRST_STAGE.format("mnist_ae")),
    "iin/fashionmnist_iin": (True, FIRST_STAGE.format("fashionmnist_ae")),
    "iin/cifar_iin": (True, FIRST_STAGE.format("cifar_ae")),
    "iin/celeba_iin": (True, FIRST_STAGE.format("celeba_ae")),
    "invariances/alexnet/base_train": (True, ZOO.format("bigae_animals")),
    "invariances/alexnet/base_eval": (False, "cinn_alexnet_aae_fc6: " + BY_HAND),
    **{f"invariances/alexnet/train/{layer}": (True, ZOO.format("bigae_animals")) for layer in older_projects.ALEXNET},
    **{
        f"invariances/alexnet/eval/{layer}": (False, f"cinn_alexnet_aae_{layer}: {BY_HAND}")
        for layer in older_projects.ALEXNET
    },
    "invariances/resnet/animalfaces/base": (True, ZOO.format("bigae_animalfaces")),
    "invariances/resnet/animalfaces/base_restricted": (True, ZOO.format("bigae_animalfaces")),
    **{
        f"invariances/resnet/animalfaces/train/{layer}": (True, ZOO.format("bigae_animalfaces"))
        for layer in older_projects.RESNET
    },
}
IIN = [name for name in TABLE if name.startswith("iin/")]
CINN = [name for name in TABLE if name not in IIN]
CHECKPOINT = {"iin/cmnist_dimeval": "logs/cmnist_clf/train/checkpoints/model.ckpt"}  # of those that name none
SMALL = {
    "Model/width": 4, "Transformer/n_flow": 1, "Transformer/hidden_dim": 4, "Loss/disc_width": 4,
    "Transformer/mid_channels": 16, "Transformer/n_flows": 2, "evaluation/grid/n_images": 2,
    "evaluation/grid/n_samples": 2,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the 37 configs and small data, without weights."""
    root = tmp_path_factory.mktemp("old")
    older_projects.write(root)
    for name in ("MNIST", "FashionMNIST"):
        stand_ins.write_mnist(root / "data", name, n_train=50)
    stand_ins.write_cifar(root / "data")
    stand_ins.write_celeba(root / "data", n=78)
    stand_ins.write_animals(root / "data")
    return root


@pytest.fixture(scope="module")
def old(place):
    """The same with first stages of 4 channels as the older projects saved them."""
    for d in older_projects.SETS:
        path = place / f"logs/{d}_ae/train/checkpoints/model.ckpt"
        released.write_autoencoder(path, **older_projects._encoder(d), width=4)
    path = place / "logs/cmnist_clf/train/checkpoints/model.ckpt"
    released.write_classifier(path, n_classes=10, **older_projects._encoder("cmnist"), width=4)
    return place


@pytest.fixture(scope="module")
def zoo(place):
    """Stand-ins of all released models that the configs name, AlexNet's weights among them."""
    released.write_alexnet(place)
    flows = [f"cinn_alexnet_aae_{layer}" for layer in older_projects.ALEXNET]
    classifiers = ["resnet101_animalfaces_shared", "resnet101_animalfaces_10"]
    return released.write_zoo(place / "data", [*flows, *classifiers, "bigae_animals", "bigae_animalfaces"])


@pytest.fixture(autouse=True)
def offline(place, monkeypatch, caplog):
    """What would be downloaded is not there."""
    from invariances.evaluation.metrics.fid.inception import WeightsMissing

    def refuse(path, urls, checksum):
        raise DownloadError(f"could not download {path.name} from {urls[0]}")

    def missing(*_):
        raise WeightsMissing("no weights in this test")

    caplog.set_level("INFO", logger="invariances")  # and back afterwards: -l sets it for the whole process
    monkeypatch.chdir(place)
    monkeypatch.setenv("INVARIANCES_DATA", str(place / "data"))
    monkeypatch.setenv("TORCH_HOME", str(place))
    monkeypatch.setattr(perceptual, "download", refuse)
    monkeypatch.setattr("invariances.evaluation.metrics.fid.fid.inception", missing)


def values(value):
    """All values inside of a config."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(inner for item in items for inner in values(item))]


def small(config):
    """Overrides that make the networks of a config small, and download nothing."""
    overrides = {key: value for key, value in SMALL.items() if key.partition("/")[0] in config}
    sizes = config.get("Transformer", {})
    overrides = {k: v for k, v in overrides.items() if "Transformer" not in k or k.partition("/")[2] in sizes}
    overrides |= {"Loss/perceptual_weight": 0} if "Loss" in config else {}
    overrides |= {"first_stage/subconfig/Model/width": 4} if "first_stage" in config else {}
    return {key: str(value) for key, value in overrides.items()}


def files(name):
    return [f"{each}.yaml" for each in COMMANDS[name]]


def test_the_table_has_all_37():
    assert TABLE.keys() == older_projects.CONFIGS.keys() and len(TABLE) == len(COMMANDS) == 37


@pytest.mark.parametrize("name", TABLE)
def test_each_is_translated_and_checked(name):
    config = read(files(name))
    assert not any(map(is_old, values(config)))
    if "model" in config:  # else a released flow brings the rest of the config
        assert check(config, train=TABLE[name][0])


@pytest.mark.parametrize("name", IIN)
def test_each_of_the_one_project_is_built(name, old):
    config = read(files(name), small(read(files(name))))
    assert build_iterator(check(config, train=TABLE[name][0]), num_steps=1) is not None


@pytest.mark.parametrize("name", [name for name, (_, line) in TABLE.items() if line])
def test_without_its_weights_each_says_in_one_line_what_is_missing(name, place, monkeypatch, capsys, tmp_path):
    def refuse(path, urls, checksum):
        raise DownloadError(f"could not download {path.name} from {urls[0]}")

    monkeypatch.setattr(store, "download", refuse)
    for each in ("iin", "invariances"):
        (tmp_path / each).symlink_to(place / each)
    monkeypatch.chdir(tmp_path)
    trains, line = TABLE[name]
    assert edflow.main(["-b", *files(name), "-l", "critical", *(["-t"] if trains else [])]) == 2
    *progress, said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"edflow: error: .*{line}.*", said)
    assert all(bar.startswith("Preparing") for bar in progress if bar)
    assert not list(tmp_path.glob("logs/*"))


def launch(name):
    """Run a config with small networks; its `metrics.json`."""
    overrides = [f"--{key}={value}" for key, value in small(read(files(name))).items()]
    words = ["-t"] if TABLE[name][0] else ["-c", CHECKPOINT[name]] if name in CHECKPOINT else []
    words += ["-d", "-l", "critical", *overrides, "--trainer/accelerator=cpu"]
    assert edflow.main(["-b", *files(name), *words]) == 0
    return json.loads(next(Run.open("logs/latest").path.rglob("metrics.json")).read_text())


def test_factor_sizes_of_a_released_classifier(old):
    found = launch("iin/cmnist_dimeval")["metrics"]
    assert sum(found[f"size_{name}"] for name in ("digit", "colour", "residual")) == 64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TABLE)
def test_each_runs(name, old, zoo, monkeypatch):
    monkeypatch.setattr(store.zoo, "entries", zoo.entries)
    found = launch(name)
    assert found["missing"] == {} and (found["metrics"] or name in CINN)
