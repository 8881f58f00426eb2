"""Further attempts to make files of a stranger run code, write, read what is not theirs, or hang; see `test_safety`."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from invariances.config.building import build_evaluations, build_iterator
from invariances.config.parts import build_networks, load_network
from invariances.config.reading import read_file
from invariances.demo.uploads import read_clip
from invariances.errors import InvalidInput, UserError
from invariances.evaluation.metrics.fid import reference
from invariances.evaluation.metrics.fid.extractors import random_network
from invariances.evaluation.report import stored
from invariances.evaluation.report.page import write_report
from invariances.training.run import Run
from invariances.utils import checkpoints, files
from tests.test_safety import GOOD, here, run, write  # noqa: F401  # `here` is a fixture

TOUCH = {"class": "subprocess.Popen", "args": ["touch", "ran"]}
AE = {
    "model": "invariances.models.Autoencoder",
    "Model": {"in_channels": 1, "in_size": 32, "n_down": 2, "z_dim": 4, "width": 4},
    "iterator": "invariances.iterators.AutoencoderIterator",
    "loss": "invariances.losses.AutoencoderLoss",
}
FIRST = {"model": "invariances.models.Greybox", "checkpoint": None, "subconfig": {"Model": {"model": TOUCH}}}
IMPORTING = {
    "as the model": {"model": "invariances.models.Greybox", "Model": {"model": TOUCH}},
    "by its module": {"model": "invariances.models.greybox.Greybox", "Model": {"model": TOUCH}},
    "as the loss": AE | {"loss": "invariances.models.Greybox", "Loss": {"model": TOUCH}},
    "as the first stage": {
        "iterator": "invariances.iterators.IINIterator",
        "model": "invariances.flows.VectorTransformer",
        "Transformer": {"in_channel": 4, "n_flow": 1, "hidden_depth": 1, "hidden_dim": 4},
        "first_stage": FIRST,
    },
    "as the network that a Greybox splits": {
        "iterator": "invariances.iterators.CINNIterator",
        "model": "invariances.flows.ConditionalTransformer",
        "Transformer": {"in_channels": 4, "mid_channels": 4, "hidden_depth": 1, "n_flows": 1},
        "GreyboxModel": {"model": {"class": "invariances.models.Greybox", "model": TOUCH}, "layer": "x"},
        "AutoencoderModel": FIRST,
    },
}


@pytest.mark.parametrize("config", IMPORTING.values(), ids=IMPORTING)
def test_a_class_of_ours_that_imports_what_its_arguments_name(here, capsys, config):  # noqa: F811
    line = run(capsys, "-b", write(config), "-t")
    assert "Greybox is not called by its name" in line and not Path("ran").exists()
    checkpoints.save({"state_dict": {"a": torch.zeros(1)}, "config": GOOD | config}, "a.ckpt")
    if config["model"].endswith("Greybox"):
        with pytest.raises(UserError, match="not called by its name"):
            load_network("a.ckpt")
        Path("exported").mkdir()
        Path("exported/config.json").write_text(json.dumps(config))
        Path("exported/model.safetensors").touch()
        with pytest.raises(UserError):
            load_network("exported")
    with pytest.raises((UserError, TypeError)):  # what is built without the check of a whole config
        build_iterator(GOOD | config, num_steps=1)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "features", ["subprocess.Popen", "os:system", {"model": TOUCH, "layer": "a"}, {"checkpoint": "a"}]
)
def test_features_of_fid_are_known_names_or_networks(here, capsys, features):  # noqa: F811
    run(capsys, "-b", write(AE | {"evaluation": {"fid": {"features": features}}}), "-t")
    with pytest.raises(UserError):
        build_evaluations(GOOD | {"evaluation": {"fid": {"features": features}}})
    assert not Path("ran").exists()


@pytest.mark.parametrize("value", [1.5, [], None, {}])
def test_checkpoints_inside_of_arguments_are_text(value):
    for node in ({"checkpoint": value}, {"checkpoint": value, "layers": ["a"]}):
        with pytest.raises(UserError, match=r"Loss/perceptual/checkpoint: .*expected a path"):
            build_networks({"perceptual": node}, "Loss")


def test_a_class_that_is_abstract(here, capsys):  # noqa: F811
    line = run(capsys, "-b", write({"iterator": "invariances.iterators.base.Iterator"}), "-t")
    assert "iterator: invariances.iterators.base.Iterator is abstract" in line


CONFIG = "run/configs/2026-11-25T10-00-00-train.yaml"


def test_the_lock_of_a_run_is_no_link_to_a_file_that_it_empties(here, capsys):  # noqa: F811
    write({}, CONFIG)
    Path("victim").write_text("mine")
    Path("run/.training").symlink_to(here / "victim")
    assert run(capsys, "-p", "run", "-t").endswith("remove the link")
    assert Path("victim").read_text() == "mine"
    with pytest.raises(OSError, match="symbolic"), files.held_by_one(Path("run/.training")):
        pass
    assert Path("victim").read_text() == "mine"


PIPES = ["run/train/tensorboard/hparams.yaml", "run/train/csv/metrics.csv", "run/train/checkpoints/model-2.ckpt.part"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("pipe", [*PIPES, "run/.training", CONFIG])
def test_a_pipe_in_a_run_is_not_waited_for(here, capsys, pipe):  # noqa: F811
    write({}, CONFIG)
    Path(pipe).parent.mkdir(parents=True, exist_ok=True)
    Path(pipe).unlink(missing_ok=True)
    os.mkfifo(pipe)
    assert run(capsys, "-p", "run", "-t").endswith("remove it")
    assert Run(Path("run")).experiment is None or pipe != CONFIG


@pytest.mark.timeout(30)
def test_a_device_is_no_config(here, capsys):  # noqa: F811
    assert run(capsys, "-b", "/dev/zero", "-t").endswith("bytes; name a YAML file")
    write({}, CONFIG)
    Path(CONFIG).unlink()
    Path(CONFIG).symlink_to("/dev/zero")
    assert run(capsys, "-p", "run", "-t").endswith("is no file; remove it")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_pipes_and_devices_in_place_of_other_files(here, make):  # noqa: F811
    make("a.npz"), make("a.ckpt"), make("metrics.json"), make("grid.npz"), make("sizes.json")
    with pytest.raises(UserError):
        load_network("a.ckpt")
    with pytest.raises(ValueError, match="remove"):
        stored.read(Path())
    with pytest.raises(ValueError, match="metrics"):
        files.read_bytes(Path("metrics.json"))
    with pytest.raises(ValueError, match="grid"):
        stored.StoredEvaluation(Path(), "", {}, {}).views()
    with pytest.raises(UserError, match="sizes"):
        from invariances.config.resolving import resolve

        config = GOOD | {"Transformer": {"factor_config": "sizes.json"}, "seed": 0}
        resolve(config, lambda text: text, False)
    with pytest.raises((UserError, InvalidInput)):
        reference.reference([{"image": torch.zeros(4, 3, 8, 8)}], random_network(), Path("a.npz"), keep=False)


def test_a_report_shows_no_file_of_elsewhere(here):  # noqa: F811
    """A picture that is a link to a secret; its bytes would stand in a page that is shown to others."""
    facts = {"time": "2026-11-25T10:00:00", "metrics": {}, "factors": {"hue": 1}}
    folder = here / "run" / "eval" / "2026-11-25T10-00-00"
    write({}, CONFIG)
    folder.mkdir(parents=True)
    (here / "secret").write_text("my secret key")
    (folder / "metrics.json").write_text(json.dumps(facts))
    for name in ("swap-hue.png", "interpolation-hue.png", "swap.png", "walks.png"):
        (folder / name).symlink_to(here / "secret")
    with pytest.raises(UserError, match="no evaluation"):
        write_report([[here / "run"]], here / "report")
    assert not (here / "report").exists()


BOMB = 2 * 10**10


def bomb(path, names):
    """A small zip file that says that it unpacks to 20 GB: the size in its index is wrong, which is read first."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for name in names:
            archive.writestr(name, b"\0" * 10**6)
        for member in archive.filelist:
            member.file_size = BOMB // len(names)


def test_archives_that_unpack_to_more_than_they_hold(here):  # noqa: F811
    bomb("a.ckpt", ["a/data.pkl", "a/data/0", "a/version"])
    assert "incomplete or not a checkpoint" in (checkpoints.damage(Path("a.ckpt")) or "")
    bomb("a.npz", ["key.npy", "n.npy", "mean.npy", "cov.npy", "features.npy"])
    with pytest.raises(UserError, match="expected at most"):
        reference.reference([{"image": torch.zeros(4, 3, 8, 8)}], random_network(), Path("a.npz"), keep=False)
    bomb("grid.npz", ["input.npy"])
    with pytest.raises(InvalidInput, match="expected at most"):
        stored.StoredEvaluation(Path(), "", {}, {}).views()


@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile 'a.mp4'\n", "#EXTM3U\n#EXTINF:1.0,\na.mp4\n", "%PDF"])
def test_a_clip_is_no_list_of_other_files(text, ending):
    with pytest.raises(InvalidInput, match="another format"):
        read_clip(text.encode(), ending, channels=3, size=8)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("optimizer_states", "x"),
        ("loader", {"epoch": 0, "batch": "1"}),
        ("loader", {"epoch": float("nan"), "batch": 0}),
        ("lr_schedulers", 3),
        ("loops", {"fit_loop": 1}),
        ("loops", 0),
    ],
)
def test_a_state_of_a_training_that_makes_no_sense(here, capsys, part, value):  # noqa: F811
    config = write(GOOD | {"Model": {"in_channels": 1, "width": 2}, "evaluation": None})
    from invariances.cli import edflow

    assert edflow.main(["-b", config, "-t", "-l", "error"]) == 0
    path = Path("logs/latest/train/checkpoints/model-2.ckpt")
    before, changed = checkpoints.load(path), checkpoints.load(path)
    if part == "loader":
        changed["loops"]["fit_loop"]["state_dict"]["combined_loader"] = [value]
    torch.save(changed if part == "loader" else changed | {part: value}, path)
    line = run(capsys, "-p", "logs/latest", "-t", "--num_steps", "3", "-l", "error")
    assert "the state of its training cannot be restored" in line or "place in an epoch" in line
    torch.save(before | {"optimizer_states": []}, path)
    line = run(capsys, "-p", "logs/latest", "-t", "--num_steps", "3", "-l", "error")
    assert line.endswith("has lost the state of its optimiser; use an earlier checkpoint, or add -r")
    before["state_dict"]["model.conv1.1.num_batches_tracked"] = 3
    torch.save(before, path)
    line = run(capsys, "-p", "logs/latest", "-t", "--num_steps", "3", "-l", "error")
    assert line.endswith("is of type int; expected a tensor; use an earlier checkpoint")


def test_a_folder_in_place_of_a_log(here, capsys):  # noqa: F811
    config = write(GOOD | {"Model": {"in_channels": 1, "width": 2}, "evaluation": None})
    from invariances.cli import edflow

    assert edflow.main(["-b", config, "-t", "-l", "error"]) == 0
    log = Path("logs/latest/train/csv/metrics.csv").resolve()
    log.unlink(), log.mkdir()
    line = run(capsys, "-p", "logs/latest", "-t", "--num_steps", "3", "-l", "error")
    assert "metrics.csv: cannot be written or read (Is a directory)" in line


def test_names_with_script_are_text_on_the_page(here):  # noqa: F811
    name = "<script>alert(1)</script>"
    folder = here / "run" / "eval" / "2026-11-25T10-00-00"
    write({}, CONFIG)
    folder.mkdir(parents=True)
    facts = {"time": "2026-11-25T10:00:00", "layer": name, "depth": 1, "metrics": {name: 1.0, "x$\\frac{$": 2.0}}
    (folder / "metrics.json").write_text(json.dumps(facts | {"legend": {name: name}}))
    np.savez(folder / "grid.npz", **{name: np.zeros((1, 3, 8, 8), np.uint8)})
    page = write_report([[here / "run"]], here / "report").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert {path.suffix for path in (here / "report").iterdir()} <= {".html", ".csv", ".png"}


def test_a_config_of_many_bytes(here):  # noqa: F811
    Path("a.yaml").write_text("a: " + "x" * 10**7)
    with pytest.raises(UserError, match="has more than 10,000,000 bytes"):
        read_file("a.yaml")


def test_what_a_killed_training_was_writing_is_deleted_by_the_next(here):  # noqa: F811
    write({}, CONFIG)
    left = Path("run/train/pictures/.grid-00000060.png.4kv_m_bx")
    left.mkdir(parents=True)
    (left / "grid-00000060.png").touch()
    with Run(Path("run")).trained_by_one():
        assert not left.exists() and left.parent.exists()


def test_half_an_evaluation_is_none_for_a_report(here):  # noqa: F811
    """Of a command that was killed before it wrote `metrics.json`, or an older one that was whole is shown."""
    write({}, CONFIG)
    facts = {"time": "2026-11-25T10:00:00", "layer": "conv1", "depth": 1, "metrics": {"diversity": 0.5}}
    whole, half = (here / "run" / "eval" / f"2026-11-25T1{hour}-00-00" for hour in (0, 1))
    whole.mkdir(parents=True), half.mkdir()
    for folder in (whole, half):
        np.savez(folder / "grid.npz", input=np.zeros((1, 3, 8, 8), np.uint8))
    with pytest.raises(UserError, match="no evaluation"):
        stored.newest(here / "run")
    (whole / "metrics.json").write_text(json.dumps(facts))
    assert stored.newest(here / "run")[0].folder == whole
    later = json.dumps(facts | {"time": "2026-11-25T11:00:00"})
    (half / "metrics.json").write_text(later[:-5])
    assert stored.newest(here / "run")[0].folder == whole


def test_rows_of_a_damaged_table_are_left_out(here):  # noqa: F811
    from invariances.training.loggers.csv import CSVLog

    log = Path("metrics.csv")
    log.write_text("step,a\n1,2.0\n2,3.0,4.0,5.0\n\N{SUPERSCRIPT TWO},1.0\nx,1.0\n3\n4,5.0,6")
    CSVLog(log, 9).log_metrics({"a": 7.0}, 10)
    assert log.read_text().split() == ["step,a", "1,2.0", "3,", "10,7.0"]
    log.write_text("step,a\n1," + "x" * 200_000 + "\n")
    with pytest.raises(UserError, match=r"metrics\.csv: cannot be read"):
        CSVLog(log, 9).log_metrics({"a": 7.0}, 10)


def cyclic():
    config = {}
    config["a"] = config
    return config


def nested():
    value = 0
    for _ in range(120):
        value = [value]
    return value


ODD = {
    "more values than are stored": (torch.zeros(1).expand(10**6, 10**6), "of more values than are stored"),
    "a sparse tensor": (torch.eye(2).to_sparse(), "sparse"),
    "a tensor without values": (torch.empty(10**6, 10**6, device="meta"), "without values"),
    "a container inside of itself": (cyclic(), "nests more than 100 containers"),
    "endless nesting": (nested(), "nests more than 100 containers"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("value", "fault"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("key", ["state_dict", "config"])
def test_odd_values_in_a_checkpoint(here, value, fault, key):  # noqa: F811
    state = {"state_dict": {"a": torch.zeros(1)}, "config": GOOD}
    state[key] = state[key] | {"x": value}
    torch.save(state, "a.ckpt")
    with pytest.raises(UserError, match=rf"^a\.ckpt: .*({fault}|incomplete or not a checkpoint)"):
        load_network("a.ckpt")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("key", [1, None, ("a", "b"), True, 1.5])
def test_odd_names_of_weights(here, key):  # noqa: F811
    torch.save({"state_dict": {key: torch.zeros(1)}, "config": GOOD}, "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt"):
        load_network("a.ckpt")
    torch.save({key: torch.zeros(1)}, "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt"):
        load_network("a.ckpt", "invariances.models.DigitClassifier", {})


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_pipes_and_devices_among_settings_tables_and_configs(here, capsys, make):  # noqa: F811
    from invariances.cli import invariances as command
    from invariances.config.allowing import is_allowed
    from invariances.evaluation.metrics.attributes.table import read_table

    make(".invariances.yaml"), make("attributes.csv")
    assert not is_allowed("os")
    with pytest.raises(InvalidInput, match=r"attributes\.csv"):
        read_table(Path("attributes.csv"), None, [0])
    Path("configs").mkdir(), make("configs/a.yaml")
    Path("configs/b.yaml").write_text("# \x1b[2JMine.\n")
    assert command.main(["ls", "b.yaml"]) == 0
    assert "\\x1b[2JMine" in capsys.readouterr().out


def test_names_that_command_a_terminal_are_written_out(here, capsys):  # noqa: F811
    Path("a.yaml").write_text(json.dumps({"\x1b]0;mine\x07": 1}))
    assert "\x1b" not in run(capsys, "-b", "a.yaml", "-t")


@pytest.mark.parametrize("name", ["/etc/passwd", "../../pyproject", "configs/../../../etc/passwd", "/"])
def test_only_what_comes_with_the_package_is_copied(here, capsys, name):  # noqa: F811
    from invariances.cli import invariances as command

    assert command.main(["cp", name, "copied"]) == 2
    assert "no such config in the package" in capsys.readouterr().err and not Path("copied").exists()


def test_tables_of_attributes_say_one_thing_of_each_image(here):  # noqa: F811
    from invariances.evaluation.metrics.attributes.table import read_table

    Path("a.csv").write_text("index,age\n0,1\n0,2\n")
    with pytest.raises(InvalidInput, match=r"a\.csv: index 0 has two rows or more"):
        read_table(Path("a.csv"), None, [0])
    Path("a.csv").write_text("index,age\n0,inf\n1,2,3,4\n")
    assert torch.equal(read_table(Path("a.csv"), None, [0, 1])["age"].nan_to_num(-1), torch.tensor([-1.0, 2]))
