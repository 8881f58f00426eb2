"""Checkpoint files: saved all or nothing, damaged ones named, weights loaded strictly."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from invariances.config.parts import load_network
from invariances.errors import UserError
from invariances.utils import checkpoints


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, width), nn.Linear(width, 2)

    def forward(self, x):
        return self.two(self.one(x).relu())


class Other(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)


class Holder(nn.Module):
    """Has a child called model, like a training task."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Net()


class NotPlain:
    """Anything but tensors and containers."""

    def __init__(self) -> None:
        self.x = 1


def complaint(function, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert "weights_only" not in message
    return message


def ours(model: nn.Module, **more) -> dict:
    return {
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "config": {"model": "tests.utils.test_checkpoints.Net", "Model": {"width": 4}},
        **more,
    }


class TestSave:
    def test_there_and_back(self, tmp_path):
        state = {"state_dict": Net().state_dict(), "step": 3, "config": {"a": [1, None, "x", 1e-5, True]}}
        checkpoints.save(state, tmp_path / "deep" / "model-3.ckpt")
        loaded = checkpoints.load(tmp_path / "deep" / "model-3.ckpt")
        assert loaded["step"] == 3 and loaded["config"] == state["config"]
        assert all(torch.equal(loaded["state_dict"][k], v) for k, v in state["state_dict"].items())
        assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model-3.ckpt"]

    @pytest.mark.parametrize(
        "thing", [lambda: 0, sys.stdout, NotPlain(), np.float64(3.0), time.struct_time(range(9)), NotPlain]
    )
    def test_what_could_not_be_loaded_again_is_not_saved(self, tmp_path, thing):
        path = tmp_path / "model-1.ckpt"
        checkpoints.save({"step": 1}, path)
        message = complaint(checkpoints.save, {"step": 2, "thing": thing}, path)
        assert message.startswith(f"{path}: not saved")
        assert checkpoints.load(path) == {"step": 1} and os.listdir(tmp_path) == ["model-1.ckpt"]

    def test_full_disk(self, tmp_path):
        """A limit of 200 kB on the size of a file; the file that was there is still good."""
        path = tmp_path / "model-1.ckpt"
        checkpoints.save({"step": 1}, path)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            message = complaint(checkpoints.save, {"weights": torch.zeros(1_000_000)}, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(path) in message and "MB are free" in message
        assert checkpoints.load(path) == {"step": 1} and os.listdir(tmp_path) == ["model-1.ckpt"]

    def test_no_folder_can_be_made(self, tmp_path):
        (tmp_path / "file").write_text("x")
        message = complaint(checkpoints.save, {"step": 1}, tmp_path / "file" / "model-1.ckpt")
        assert "not saved (File exists)" in message

    def test_interrupt(self, tmp_path, monkeypatch):
        path = tmp_path / "model-1.ckpt"
        checkpoints.save({"step": 1}, path)

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save({"step": 2}, path)
        assert checkpoints.load(path) == {"step": 1} and os.listdir(tmp_path) == ["model-1.ckpt"]

    def test_killed_in_the_middle(self, tmp_path):
        """kill -9 at any time leaves the old file or a whole new one under the final name."""
        path = tmp_path / "model-1.ckpt"
        checkpoints.save({"step": 0}, path)
        code = (
            "import sys, torch; from invariances.utils import checkpoints\n"
            "weights = torch.zeros(2_000_000)\n"
            "print('go', flush=True)\n"
            "for i in range(1, 10_000): checkpoints.save({'step': i, 'w': weights + i}, sys.argv[1])\n"
        )
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"go\n"
            time.sleep(0.11)
            process.send_signal(signal.SIGKILL)
        state = checkpoints.load(path)
        assert state["step"] == 0 or state["w"].eq(state["step"]).all()

    def test_trainer(self, tmp_path):
        class Task(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.model = Net()

            def training_step(self, batch, index):
                return self.model(batch).square().mean()

            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters())

        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        task = Task()
        trainer = pl.Trainer(
            max_steps=2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(task, torch.utils.data.DataLoader(torch.randn(4, 3), batch_size=2))
        checkpoints.save(trainer, tmp_path / "model-2.ckpt")
        assert os.listdir(tmp_path) == ["model-2.ckpt"]
        net = Net()
        checkpoints.load_weights(net, checkpoints.load(tmp_path / "model-2.ckpt"), "x")
        assert torch.equal(net.one.weight, task.model.one.weight)


class TestLoad:
    @pytest.fixture
    def good(self, tmp_path) -> Path:
        path = tmp_path / "good.ckpt"
        checkpoints.save(ours(Net()), path)
        return path

    def test_missing(self, good):
        message = complaint(checkpoints.load, good.with_name("god.ckpt"))
        assert message == f"{good.with_name('god.ckpt')}: no such file; did you mean {good}?"

    def test_missing_folder(self, tmp_path):
        message = complaint(checkpoints.load, tmp_path / "a" / "b.ckpt")
        assert message.endswith("no such file; give the checkpoint of a run, latest:EXPERIMENT, or a released one "
                                "(invariances zoo ls lists them)")

    def test_folder(self, good):
        good.rename(good.with_name("model-7.ckpt"))
        message = complaint(checkpoints.load, good.parent)
        assert "is a folder" in message and "model-7.ckpt" in message

    def test_half_a_file(self, good):
        data = good.read_bytes()
        good.write_bytes(data[: len(data) // 2])
        message = complaint(checkpoints.load, good)
        assert f"{good}: incomplete or not a checkpoint ({len(data) // 2:,} bytes)" in message

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"<!DOCTYPE html><html><body>Quota exceeded</body></html>",
            b"model: a.B\nModel: {}\n",
            b"\x80\x02}q\x00.",
            b"\x00" * 1000,
            b"PK\x03\x04" + b"\x00" * 100,
            checkpoints.LEGACY_MAGIC + b"garbage",
            checkpoints.LEGACY_MAGIC,
        ],
    )
    def test_something_else(self, tmp_path, content):
        path = tmp_path / "model.ckpt"
        path.write_bytes(content)
        assert complaint(checkpoints.load, path).startswith(f"{path}: incomplete or not a checkpoint")

    def test_plain_zip(self, tmp_path):
        path = tmp_path / "model.ckpt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
        assert "not a checkpoint" in complaint(checkpoints.load, path)

    def test_one_byte_changed(self, tmp_path):
        path = tmp_path / "model.ckpt"
        checkpoints.save({"w": torch.zeros(10_000)}, path)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert "incomplete or not a checkpoint" in complaint(checkpoints.load, path)

    def test_foreign_objects(self, tmp_path):
        path = tmp_path / "model.ckpt"
        torch.save({"state_dict": {}, "args": NotPlain()}, path)
        message = complaint(checkpoints.load, path)
        assert "more than weights and plain values (tests.utils.test_checkpoints.NotPlain)" in message

    def test_code_in_a_pickle_does_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        for name, zipped in (("new.ckpt", True), ("old.ckpt", False)):
            torch.save({"x": Evil()}, tmp_path / name, _use_new_zipfile_serialization=zipped)
            complaint(checkpoints.load, tmp_path / name)
        assert not (tmp_path / "ran").exists()

    def test_torchscript(self, tmp_path):
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "model.pt")
        complaint(checkpoints.load, tmp_path / "model.pt")

    def test_not_a_dict(self, tmp_path):
        torch.save([1, 2], tmp_path / "a.ckpt")
        assert "holds a list" in complaint(checkpoints.load, tmp_path / "a.ckpt")

    def test_file_of_an_older_torch(self, tmp_path):
        net = Net()
        torch.save(net.state_dict(), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
        assert torch.equal(checkpoints.load(tmp_path / "old.ckpt")["one.weight"], net.one.weight)

    @pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
    def test_no_permission(self, good):
        good.chmod(0)
        assert "cannot be read (Permission denied)" in complaint(checkpoints.load, good)

    def test_saved_on_a_gpu(self, tmp_path):
        """Tensors marked as cuda's load on the CPU."""
        path, edited = tmp_path / "cpu.ckpt", tmp_path / "gpu.ckpt"
        torch.save({"w": torch.arange(4.0)}, path)
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(edited, "w") as target:
            for name in source.namelist():
                data = source.read(name)
                if name.endswith("data.pkl"):
                    marked = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
                    assert marked != data
                    data = marked
                target.writestr(name, data)
        loaded = checkpoints.load(edited)
        assert loaded["w"].device.type == "cpu" and loaded["w"].tolist() == [0, 1, 2, 3]


class TestWeights:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda s: s,
            lambda s: {f"module.{k}": v for k, v in s.items()},
            lambda s: {f"model.{k}": v for k, v in s.items()},
            lambda s: {f"model.module.{k}": v for k, v in s.items()},
            lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
            lambda s: {"state_dict": s, "epoch": 3},
            lambda s: {"model": s, "optimizer": {"state": {}}},
            lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "config": {"model": "a.B"}},
            lambda s: {"model": {"state_dict": {f"module.{k}": v for k, v in s.items()}}},
            lambda s: (
                {f"model.{k}": v for k, v in s.items()}
                | {"loss.logvar": torch.zeros(1), "step": torch.tensor(3)}
            ),
            lambda s: {f"model.{k}": v for k, v in s.items()} | {f"ema.{k}": v + 1 for k, v in s.items()},
        ],
    )
    def test_wrapped(self, wrap):
        source, target = Net(), Net()
        checkpoints.load_weights(target, wrap(source.state_dict()), "a.ckpt")
        assert torch.equal(source(self.x), target(self.x))

    def test_task_with_a_child_called_model(self):
        source, target = Holder(), Holder()
        checkpoints.load_weights(target, {"state_dict": source.state_dict()}, "a.ckpt")
        assert torch.equal(source.model(self.x), target.model(self.x))

    def test_one_layer_missing(self):
        state = {name: value for name, value in Net().state_dict().items() if "two" not in name}
        message = complaint(checkpoints.load_weights, Net(), state, "a.ckpt")
        assert message == "a.ckpt: does not fit Net: of 4 weights 2 missing (two.weight, two.bias)"

    def test_other_shape(self):
        message = complaint(checkpoints.load_weights, Net(), Net(width=5).state_dict(), "a.ckpt")
        assert (
            "of 4 weights 3 of another shape (one.weight (5, 3) instead of (4, 3), one.bias (5,) instead of (4,), "
            in message
        )

    def test_unknown(self):
        state = Net().state_dict() | {f"three.{i}": torch.zeros(1) for i in range(5)}
        message = complaint(checkpoints.load_weights, Net(), state, "a.ckpt")
        assert "of 4 weights 5 unknown (three.0, three.1, three.2 …)" in message

    @pytest.mark.parametrize("state", [Other().state_dict(), {}, {"state_dict": {}}, {"epoch": 3}])
    def test_nothing_fits(self, state):
        message = complaint(checkpoints.load_weights, Net(), state, "a.ckpt")
        assert message.startswith("a.ckpt: does not fit Net: none of the 4 weights is in it")

    def test_released_names(self):
        class Released(Net):
            def load_released(self, state_dict):
                if "first.weight" not in state_dict:
                    raise ValueError("first.weight is missing")
                ours = {k.replace("first", "one").replace("second", "two"): v for k, v in state_dict.items()}
                self.load_state_dict(ours)

        source, target = Net(), Released()
        theirs = {"one": "first", "two": "second"}
        released = {f"{theirs[k[:3]]}{k[3:]}": value for k, value in source.state_dict().items()}
        checkpoints.load_weights(target, {"state_dict": released}, "a.ckpt")
        assert torch.equal(source(self.x), target(self.x))
        message = complaint(checkpoints.load_weights, Released(), {"a": torch.zeros(1)}, "a.ckpt")
        assert message == "a.ckpt: first.weight is missing"

    def test_a_hook_of_the_module_may_fill_in(self):
        """What an older file lacks is the module's business, if it says so."""

        class Marked(Net):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("initialized", torch.tensor(False))

            def _load_from_state_dict(self, state_dict, prefix, *rest):
                state_dict.setdefault(prefix + "initialized", torch.tensor(True))
                super()._load_from_state_dict(state_dict, prefix, *rest)

        target = Marked()
        checkpoints.load_weights(target, Net().state_dict(), "a.ckpt")
        assert target.initialized


class TestLoadModel:
    def test_from_its_own_config(self, tmp_path):
        source = Net().train()
        checkpoints.save(ours(source), tmp_path / "a.ckpt")
        model = load_network(str(tmp_path / "a.ckpt"))
        assert type(model) is Net and not model.training
        assert torch.equal(model(TestWeights.x), source(TestWeights.x))

    def test_from_a_given_class(self, tmp_path):
        source = Net(width=6)
        torch.save(source.state_dict(), tmp_path / "a.ckpt")
        model = load_network(
            tmp_path / "a.ckpt", "tests.utils.test_checkpoints.Net", {"Model": {"width": 6}}
        )
        assert torch.equal(model(TestWeights.x), source(TestWeights.x))

    def test_no_class_is_named(self, tmp_path):
        torch.save(Net().state_dict(), tmp_path / "a.ckpt")
        assert "holds weights without a config" in complaint(load_network, tmp_path / "a.ckpt")

    def test_never_with_fresh_weights(self, tmp_path):
        checkpoints.save(ours(Net()) | {"state_dict": Other().state_dict()}, tmp_path / "a.ckpt")
        assert "none of the 4 weights" in complaint(load_network, tmp_path / "a.ckpt")

    def test_class_of_a_stranger(self, tmp_path):
        state = ours(Net()) | {
            "config": {"model": "subprocess.Popen", "Model": {"args": f"touch {tmp_path}/x"}}
        }
        checkpoints.save(state, tmp_path / "a.ckpt")
        assert "belongs to neither invariances nor torch.nn" in complaint(load_network, tmp_path / "a.ckpt")
        assert not (tmp_path / "x").exists()


class TestNumbered:
    def test_numbers_sort_as_numbers(self, tmp_path):
        for name in ("model-9999.ckpt", "model-10000.ckpt", "model-010001.ckpt", "model-2.ckpt"):
            (tmp_path / name).touch()
        for name in ("model-20000.ckpt.part", "model-best.ckpt", "notes.txt", "model-.ckpt", "xmodel-5.ckpt"):
            (tmp_path / name).touch()
        (tmp_path / "model-99999.ckpt").mkdir()
        assert [path.name for path in checkpoints.numbered(tmp_path)] == [
            "model-2.ckpt",
            "model-9999.ckpt",
            "model-10000.ckpt",
            "model-010001.ckpt",
        ]
        assert checkpoints.numbered(tmp_path / "nowhere") == []

    def test_prune_keeps_the_highest_whole_ones(self, tmp_path):
        for step in (9999, 10000, 500, 10100):
            checkpoints.save({"step": step}, tmp_path / f"model-{step}.ckpt")
        (tmp_path / "model-20000.ckpt").touch()  # damaged: it may not crowd out a good one
        (tmp_path / "notes.txt").touch()
        checkpoints.prune(tmp_path, 2)
        assert sorted(os.listdir(tmp_path)) == [
            "model-10000.ckpt",
            "model-10100.ckpt",
            "model-20000.ckpt",
            "notes.txt",
        ]
