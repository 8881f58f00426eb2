"""What a config, a checkpoint, a run folder or a file of a stranger must not do: run code, write, delete elsewhere."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from invariances.cli import edflow
from invariances.config import allowing
from invariances.config.allowing import SETTINGS, allow, is_allowed, modules_here, remember
from invariances.config.building import build_dataset, build_evaluations
from invariances.config.classes import locate
from invariances.config.parts import load_network
from invariances.errors import UserError
from invariances.utils import checkpoints

GOOD = {
    "experiment_name": "clf",
    "model": "invariances.models.DigitClassifier",
    "iterator": "invariances.iterators.ClassifierIterator",
    "datasets": {"train": "invariances.data.DigitsTrain", "validation": "invariances.data.DigitsTest"},
    "learning_rate": 1e-3,
    "num_steps": 2,
    "batch_size": 8,
}
MODULE = """
from pathlib import Path
from torch import nn
Path("imported").touch()

class Net(nn.Module):
    def __init__(self, path: str = "called"):
        super().__init__()
        Path(path).touch()

class Deleting(nn.Module):
    def __init__(self, path: str):
        super().__init__()
        Path(path).unlink()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder, with nothing allowed."""
    monkeypatch.setattr(allowing, "_given", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("stranger_code.py").write_text(MODULE)
    yield tmp_path / "work"
    sys.modules.pop("stranger_code", None)


def write(config, name="stranger.yaml"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(yaml.safe_dump(GOOD | config))
    return name


def run(capsys, *words):
    """The one line by which a command is refused."""
    assert edflow.main(list(words)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    return line


def stored(config):
    """A checkpoint of a stranger, whose config has these entries."""
    checkpoints.save({"state_dict": {"model.weight": torch.zeros(1)}, "config": GOOD | config}, "stranger.ckpt")
    return "stranger.ckpt"


LOADERS = {
    "a second library's loader": (
        "torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3",
        {"feature_extractor_weights_path": "w.pth"},
    ),
    "torchvision's own classes": ("torchvision.models.resnet.ResNet", {}),
    "a function of torch": ("torch.hub.load", {}),
    "torch.jit": ("torch.jit.ScriptModule", {}),
    "a class that Lightning brings": ("pytorch_lightning.LightningModule", {}),
    "a process": ("subprocess.Popen", {"args": "touch ran"}),
    "a class that deletes": ("shutil.rmtree", {}),
}


class TestAllowedByName:
    @pytest.mark.parametrize(("path", "arguments"), LOADERS.values(), ids=LOADERS)
    def test_only_classes_of_invariances_and_layers_of_torch(self, here, capsys, path, arguments):
        with open("w.pth", "wb") as file:
            pickle.dump(Reducing(), file)
        name = path.partition(".")[0]
        line = run(capsys, "-b", write({"model": path, "Model": arguments}), "-t")
        assert f"model: {path} (in stranger.yaml) belongs to neither" in line and line.endswith(f"add --allow {name}")
        with pytest.raises(UserError, match=rf"model: .*stranger\.ckpt.*--allow {name}"):
            load_network(stored({"model": path, "Model": arguments}))
        assert {each.name for each in here.iterdir()} == {"stranger.yaml", "stranger.ckpt", "stranger_code.py", "w.pth"}

    def test_what_invariances_imports_from_elsewhere_is_not_its_own(self, here):
        with pytest.raises(UserError, match="--allow pytorch_lightning"):
            locate("invariances.training.engine.TensorBoardLogger", "model")

    def test_layers_of_torch_may_be_called_and_nothing_else_of_torch(self, here):
        assert locate("torch.nn.Linear", "model") is nn.Linear
        for name in ("parallel.DistributedDataParallel", "DataParallel", "utils.prune.Identity"):
            path = f"torch.nn.{name}"
            with pytest.raises(UserError, match="--allow torch"):
                locate(path, "model")

    @pytest.mark.parametrize("model", ["stranger_code:x.Net", "x:stranger_code.Net", "hub:a.b", "torchvision:../x"])
    def test_prefixes_other_than_the_known_ones_name_no_network(self, here, capsys, model):
        Path("x:stranger_code.py").write_text(MODULE)
        assert run(capsys, "-b", write({"GreyboxModel": {"model": model, "layer": "a"}}), "-t")
        assert not Path("imported").exists()

    def test_a_checkpoint_alone_imports_nothing_of_the_working_folder(self, here):
        with pytest.raises(UserError, match=r"stranger_code\.Net .*add --allow stranger_code$"):
            load_network(stored({"model": "stranger_code.Net", "Model": {}}))
        assert not Path("imported").exists()

    def test_a_run_folder_imports_nothing_of_the_working_folder(self, here, capsys):
        config = "run/configs/2026-11-25T10-00-00-train.yaml"
        write({"model": "stranger_code.Deleting", "Model": {"path": "victim"}}, config)
        Path("victim").touch()
        for words in (["-p", "run", "-t"], ["-b", config, "-t"]):
            line = run(capsys, *words)
            assert "10-00-00-train.yaml) belongs to neither" in line and line.endswith("--allow stranger_code")
        assert Path("victim").exists() and not Path("imported").exists()

    def test_modules_of_a_stranger_s_run_are_not_the_user_s(self, here, capsys):
        Path("logs").mkdir()
        Path("logs/stranger_code.py").write_text(MODULE)
        run(capsys, "-b", write({"model": "logs.stranger_code.Net"}), "-t")
        assert not Path("imported").exists()

    def test_one_s_own_module_needs_no_word_and_is_remembered(self, here, capsys):
        assert "Net" in run(capsys, "-b", write({"model": "stranger_code.Net", "Model": {"nosuch": 1}}), "-t")
        assert yaml.safe_load(SETTINGS.read_text())["allow"] == ["stranger_code"]
        allowing._given.clear()  # as in another process
        assert locate("stranger_code.Net", "model").__name__ == "Net"

    def test_a_settings_file_from_elsewhere_allows_nothing(self, here):
        of_a_stranger = "folder: /home/stranger\nallow: [os]"
        guessed = f"folder: {here}\nallow: [os]"  # such as /content in a notebook's machine
        for text in (of_a_stranger, guessed, "allow: [os]", "[os]", "\x00", "allow: {os: 1}", "[" * 9999):
            SETTINGS.write_text(text)
            assert not is_allowed("os")

    @pytest.mark.parametrize("name", ["os", "sys", "builtins", "zipimport", "posixpath", "torch", "numpy", "nosuch"])
    def test_modules_of_python_and_installed_ones_do_not_lie_here(self, here, name):
        assert modules_here({"model": f"{name}.x"}) == set()
        Path(f"{name}.py").touch()
        assert modules_here({"model": f"{name}.x"}) == ({name} if name == "nosuch" else set())

    def test_names_are_whole(self, here):
        allow("os")
        assert is_allowed("os.path") and not is_allowed("ossaudiodev")
        with pytest.raises(UserError, match="expected the name of a package"):
            allow("os; rm")

    def test_an_allowed_package_is_still_held_to_the_kind_of_class(self, here, capsys):
        config = write({"model": "subprocess.Popen", "Model": {"args": "touch ran"}})
        assert "is not a torch.nn.Module" in run(capsys, "-b", config, "-t", "--allow", "subprocess")

    def test_C02_data_sets_are_refused_before_the_call(self, here, capsys):
        spec = {"class": "mailbox.mbox", "path": str(here / "made")}
        line = run(capsys, "-b", write({"datasets": GOOD["datasets"] | {"train": spec}}), "-t")
        assert "datasets/train: mailbox.mbox" in line and line.endswith("add --allow mailbox")
        with pytest.raises(UserError, match="--allow mailbox"):
            build_dataset({"datasets": {"train": spec}}, "train")
        assert not (here / "made").exists()

    def test_evaluations_too(self, here, capsys):
        line = run(capsys, "-b", write({"evaluation": {"x": {"class": "torch_fidelity.metric_fid.Path"}}}), "-t")
        assert "evaluation/x: " in line and line.endswith("--allow torch_fidelity")


class Reducing:
    """What a hostile pickle holds."""

    def __reduce__(self):
        return os.mkdir, (os.path.abspath("ran"),)


def hostile_npz(path):
    np.savez(path, key=np.array([Reducing()], dtype=object), allow_pickle=True)


def hostile_ckpt(path):
    torch.save({"state_dict": {}, "config": Reducing()}, path)


def hostile_pickle(path):
    Path(path).write_bytes(pickle.dumps(Reducing()))


class TestFiles:
    """`__reduce__` in every kind of file that is read."""

    @pytest.mark.parametrize("make", [hostile_ckpt, hostile_pickle])
    @pytest.mark.parametrize("name", ["a.ckpt", "a.pth", "a.safetensors"])
    def test_checkpoints(self, here, make, name):
        make(name)
        with pytest.raises(UserError, match=name) as caught:
            load_network(name)
        assert "weights_only" not in str(caught.value) and not Path("ran").exists()

    @pytest.mark.parametrize("make", [hostile_ckpt, hostile_pickle, hostile_npz])
    def test_statistics_and_weights_of_metrics(self, here, make):
        from invariances.evaluation.metrics.fid.embeddings import clip, dinov2
        from invariances.evaluation.metrics.fid.extractors import random_network
        from invariances.evaluation.metrics.fid.inception import inception
        from invariances.evaluation.metrics.fid.reference import DAMAGED, reference
        from invariances.evaluation.report.stored import StoredEvaluation

        make("evil.npz"), make("grid.npz")
        batches = [{"image": torch.zeros(4, 3, 8, 8)}]
        reads = (
            lambda: reference(batches, random_network(), Path("evil.npz")),
            lambda: inception(weights="evil.npz"),
            lambda: dinov2("evil.npz"),
            lambda: clip("evil.npz"),
            lambda: StoredEvaluation(Path(), "", {}, {}).views(),
        )
        for read in reads:
            with pytest.raises((UserError, *DAMAGED)) as caught:
                read()
            assert "weights_only=False" not in str(caught.value)  # case C03: no advice to switch the protection off
        assert not Path("ran").exists()

    def test_yaml(self, here, capsys):
        Path("a.yaml").write_text("model: !!python/object/apply:os.mkdir [ran]\n")
        assert "a.yaml" in run(capsys, "-b", "a.yaml", "-t") and not Path("ran").exists()


class TestPlaces:
    def test_a_config_writes_no_statistics_where_it_likes(self, here, capsys):
        config = GOOD | {"evaluation": {"fid": {"features": "random"}}}
        for place in ("stats.npz", str(here.parent / "elsewhere.npz")):
            given = config | {"fid_stats": {"pre_calc_stat_path": place}}
            assert build_evaluations(given)["fid"].path is None  # the cache
            Path(place).touch()
            assert build_evaluations(given)["fid"].path == Path(place)  # a file that is there is read
        remember([], ["mine.npz"])  # as by --fid_stats/pre_calc_stat_path mine.npz
        given = config | {"fid_stats": {"pre_calc_stat_path": "mine.npz"}}
        assert build_evaluations(given)["fid"].path == Path("mine.npz")

    def test_a_config_chooses_no_data_folder(self, here, capsys):
        place = str(here.parent / "elsewhere")
        spec = {"class": "invariances.data.MNISTTrain", "root": place}
        line = run(capsys, "-b", write({"datasets": GOOD["datasets"] | {"train": spec}}), "-t")
        assert line.endswith(f"if you want that, add --datasets/train/root {place}")
        assert not Path(place).exists()


class TestLinks:
    @pytest.mark.parametrize("link", ["train/pictures/grid-1.png", "train/checkpoints", "eval", "configs/x"])
    def test_nothing_is_written_through_a_link_that_leaves_the_run(self, here, capsys, link):
        write({}, "run/configs/2026-11-25T10-00-00-train.yaml")
        victim = here / "victim"
        victim.mkdir()
        checkpoints.save({"a": 1}, victim / "model-1.ckpt"), checkpoints.save({"a": 1}, victim / "model-2.ckpt")
        Path("run", link).parent.mkdir(parents=True, exist_ok=True)
        Path("run", link).symlink_to(victim)
        before = {path: path.read_bytes() for path in victim.rglob("*")}
        assert run(capsys, "-p", "run", "-t").endswith("remove the link")
        assert {path: path.read_bytes() for path in victim.rglob("*")} == before
        assert len(list(Path("run/configs").glob("*.yaml"))) == 1
