"""Reading, merging, checking and building configs; the classes below are named by the configs."""

import re
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from invariances.config.allowing import allow
from invariances.config.building import build_dataset, build_evaluations, build_iterator, learning_rate
from invariances.config.checking import check
from invariances.config.classes import locate
from invariances.config.parts import PARTS
from invariances.config.reading import dump, merge, parse, read
from invariances.config.signatures import cast, describe, fits, mistakes, parameters
from invariances.errors import UserError

HERE = "tests.config.test_config"


class Net(nn.Module):
    def __init__(self, in_channels: int, n_classes: int = 10, norm: Literal["an", "bn"] = "an") -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"in_channels is {in_channels}; expected at least 1")
        self.layer = nn.Linear(in_channels, n_classes)


class Loss(nn.Module):
    def __init__(self, disc_start: int | None = None) -> None:
        super().__init__()
        self.disc_start = disc_start


class Base(pl.LightningModule):
    def __init__(self, model: nn.Module, learning_rate: float, num_steps: int | None = None) -> None:
        super().__init__()
        self.model, self.learning_rate, self.num_steps = model, learning_rate, num_steps


class Task(Base):
    def __init__(self, weight_decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight_decay = weight_decay


class LossTask(pl.LightningModule):
    def __init__(self, model: nn.Module, loss: nn.Module, learning_rate: float) -> None:
        super().__init__()
        self.model, self.loss, self.learning_rate = model, loss, learning_rate


class FrozenTask(pl.LightningModule):
    def __init__(
        self, model: nn.Module, greybox: nn.Module, autoencoder: nn.Module, learning_rate: float
    ) -> None:
        super().__init__()


class FreeTask(pl.LightningModule):
    def __init__(self, model: nn.Module, **kwargs: Any) -> None:
        super().__init__()
        self.rest = kwargs


class Digits:
    def __init__(self, size: int = 32, seed: int = 0) -> None:
        if size < 8:
            raise ValueError(f"size is {size}; expected at least 8")
        self.size, self.seed = size, seed

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": torch.zeros(3, self.size, self.size)}


class Metric:
    def __init__(self, n_samples: int = 8) -> None:
        self.n_samples = n_samples

    def __call__(self, iterator: Any, loader: Any, folder: Path) -> dict[str, float]:
        return {}


class Greybox(nn.Module):
    def __init__(self, model: nn.Module | str, layer: str, weights: str | None = None) -> None:
        super().__init__()


NUMBER = 3


def function() -> None: ...


def good(**changes: Any) -> dict[str, Any]:
    """A config without mistakes; a change to None leaves its key out."""
    config = {
        "experiment_name": "test",
        "model": f"{HERE}.Net",
        "Model": {"in_channels": 4},
        "iterator": f"{HERE}.Task",
        "datasets": {"train": f"{HERE}.Digits", "validation": {"class": f"{HERE}.Digits", "size": 16}},
        "batch_size": 2,
        "learning_rate": 1e-3,
        "num_steps": 10,
    } | changes
    return {key: value for key, value in config.items() if value is not None}


def complaint(config: dict[str, Any], train: bool = True) -> str:
    with pytest.raises(UserError) as caught:
        check(config, train)
    return str(caught.value)


def write(folder: Path, text: str | bytes, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


class TestNumbers:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-4", 0.0001),
            ("1.0e-4", 0.0001),
            ("4.5e-06", 4.5e-6),
            (".00001", 1e-5),
            ("1e5", 100000.0),
            ("1E+2", 100.0),
            ("-2.5e3", -2500.0),
            ("1.", 1.0),
            ("-.5", -0.5),
            ("25.0", 25.0),
            ("1e1", 10.0),
            ("-5", -5),
            ("+7", 7),
            ("0", 0),
            ("250_000", 250000),
            ("0x1F", 31),
            ("0o17", 15),
        ],
    )
    def test_numbers(self, text, value):
        parsed = parse(text, "--key")
        assert parsed == value and type(parsed) is type(value)

    @pytest.mark.parametrize(
        "text",
        [
            '"0.0001"',
            "'1e-4'",
            "010",
            "-010",
            "1:30",
            "1:30:00.5",
            "2020-01-01",
            "1e",
            "e5",
            "1.2.3",
            "0b1",
            "=",
        ],
    )
    def test_text(self, text):
        """What YAML 1.1 would turn into 8, 90 or a date is left as it is written."""
        assert parse(text, "--key") == text.strip("\"'")

    def test_other_values(self):
        assert parse("[1, 2e1, yes, ~, off, text with spaces]", "x") == [
            1,
            20.0,
            True,
            None,
            False,
            "text with spaces",
        ]
        assert parse("{a: [22, 11, 31], b: -5}", "x") == {"a": [22, 11, 31], "b": -5}
        assert parse("", "x") is None

    def test_file_and_command_line_agree(self, tmp_path):
        path = write(tmp_path, "base_learning_rate: 1e-4")
        assert read([path]) == read([], {"base_learning_rate": "1e-4"}) == {"base_learning_rate": 0.0001}

    @pytest.mark.parametrize(
        "value",
        [
            "1e-4",
            "010",
            "1:30",
            "yes",
            "null",
            "",
            "2020-01-01",
            "a: b",
            "1_000",
            "ü\n x",
            "0o7",
            ".inf",
            "- a",
        ],
    )
    def test_dump_keeps_text(self, value):
        assert parse(dump({"a": value, "b": [value]}), "x") == {"a": value, "b": [value]}

    def test_dump_keeps_values(self):
        config = {
            "f": 1e-5,
            "big": 1e20,
            "i": 8,
            "n": None,
            "b": True,
            "d": {"x": [1, 2.0, {}]},
            "inf": float("inf"),
        }
        assert parse(dump(config), "x") == config

    def test_dump_writes_shared_blocks_out(self):
        shared = {"a": 1}
        assert "&" not in dump({"x": shared, "y": shared})


class TestFiles:
    def complain(self, path: Path) -> str:
        with pytest.raises(UserError) as caught:
            read([path])
        message = str(caught.value)
        assert message.startswith(str(path)) and "\n" not in message
        return message.removeprefix(str(path))

    def test_repeated_key(self, tmp_path):
        path = write(tmp_path, "a: 1\n\nbatch_size: 2\nc: 1\nd: 1\ne: 1\nf: 1\ng: 1\nbatch_size: 3\n")
        message = self.complain(path)
        assert message.startswith(":9:1: batch_size is given twice, on lines 3 and 9")

    def test_repeated_block_inside(self, tmp_path):
        path = write(tmp_path, "x:\n  Transformer: {a: 1}\n  y: 1\n  Transformer: {b: 1}\n")
        assert "Transformer is given twice, on lines 2 and 4" in self.complain(path)

    def test_quoting_does_not_hide_a_repeat(self, tmp_path):
        assert "lines 1 and 2" in self.complain(write(tmp_path, 'a: 1\n"a": 2\n'))

    def test_merge_key_may_be_overridden(self, tmp_path):
        text = "x:\n  base: &b {one: 1, two: 2}\n  mid: &m {<<: *b, two: 3}\ny: {<<: *m, one: 4}\n"
        config = read([write(tmp_path, text)])
        assert config["y"] == {"one": 4, "two": 3} and config["x"]["mid"] == {"one": 1, "two": 3}

    def test_tab(self, tmp_path):
        assert re.match(
            r":2:1: a tab .*spaces$", self.complain(write(tmp_path, "Model:\n\tin_channels: 3\n"))
        )

    @pytest.mark.parametrize("text", ["", "# only\n# comments\n", "---\n", "\n\n", "null"])
    def test_empty(self, tmp_path, text):
        assert self.complain(write(tmp_path, text)).startswith(":1:1: the file is empty")

    def test_list_at_top(self, tmp_path):
        assert "a list at the top level" in self.complain(write(tmp_path, "- a\n- b\n"))

    def test_single_word(self, tmp_path):
        assert "the single value 'hello'" in self.complain(write(tmp_path, "hello"))

    def test_two_documents(self, tmp_path):
        assert self.complain(write(tmp_path, "a: 1\n---\nb: 2\n")).startswith(":2:1: ")

    def test_syntax(self, tmp_path):
        assert self.complain(write(tmp_path, "a: 1\nb: [1, 2\nc: 3\n")).startswith(":3:2: ")

    def test_byte_order_mark(self, tmp_path):
        assert read([write(tmp_path, b"\xef\xbb\xbfbatch_size: 4\n")]) == {"batch_size": 4}

    def test_windows_line_ends(self, tmp_path):
        assert read([write(tmp_path, b"a: 1\r\nb:\r\n  c: 2\r\n")]) == {"a": 1, "b": {"c": 2}}

    def test_other_encoding(self, tmp_path):
        message = self.complain(write(tmp_path, "a: 1\nname: Fl\u00e4che\n".encode("latin-1")))
        assert message.startswith(":2:9: is not UTF-8")

    def test_control_character(self, tmp_path):
        assert self.complain(write(tmp_path, "a: 1\nb: x\x00y\n")).startswith(":2:5: the character '\\x00'")

    def test_missing_names_the_nearest(self, tmp_path):
        write(tmp_path, "a: 1", "cinn.yaml")
        assert str(tmp_path / "cinn.yaml") in self.complain(tmp_path / "cin.yaml")

    def test_missing_folder(self, tmp_path):
        assert ": no such file" in self.complain(tmp_path / "nowhere" / "a.yaml")

    def test_folder(self, tmp_path):
        assert "is a folder" in self.complain(tmp_path)

    @pytest.mark.parametrize(
        "tag",
        [
            "!!python/object/apply:os.getcwd []",
            "!!python/name:os.system",
            "!thing 3",
            "!!timestamp 2020-01-01",
        ],
    )
    def test_tags_build_nothing(self, tmp_path, tag):
        assert self.complain(write(tmp_path, f"a: {tag}\n")).startswith(":1:4: ")

    def test_alias_inside_itself(self, tmp_path):
        assert self.complain(write(tmp_path, "a: &a\n  b: *a\n")).startswith(":2:6: the alias")

    @pytest.mark.parametrize("tag", ["!!int abc", "!!bool foo", "!!float x", "!!int"])
    def test_values_that_do_not_fit_their_tag(self, tmp_path, tag):
        assert "does not fit the tag" in self.complain(write(tmp_path, f"a: {tag}\n"))

    def test_aliases_that_grow(self, tmp_path):
        lines = ["a: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        lines += [f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
        assert "more than 100,000 values" in self.complain(write(tmp_path, "\n".join(lines)))

    def test_deep_nesting(self, tmp_path):
        assert "nested too deeply" in self.complain(write(tmp_path, "a: " + "[" * 5000))


class TestMerge:
    def test_deep_left_to_right(self, tmp_path):
        one = write(tmp_path, "a: {x: 1, y: 2}\nl: [1, 2]\nk: 1\n", "1.yaml")
        two = write(tmp_path, "a: {y: 3, z: 4}\nl: [3]\n", "2.yaml")
        assert read([one, two]) == {"a": {"x": 1, "y": 3, "z": 4}, "l": [3], "k": 1}
        assert read([two, one]) == {"a": {"x": 1, "y": 2, "z": 4}, "l": [1, 2], "k": 1}

    def test_another_class_brings_its_own_arguments(self):
        earlier = {"train": {"class": "a.A", "size": 64}}
        assert merge(earlier, {"train": {"class": "b.B", "root": "x"}}) == {"train": {"class": "b.B", "root": "x"}}
        same = merge(earlier, {"train": {"class": "a.A", "root": "x"}})
        assert same == {"train": {"class": "a.A", "size": 64, "root": "x"}}

    def test_overrides_of_places_in_a_list(self, tmp_path):
        path = write(tmp_path, "Transformer: {factor_config: [22, 11, 31]}\nnotes: [{a: 1, b: 2}]")
        places = {"Transformer/factor_config/0": "20", "Transformer/factor_config/2": "33", "notes/0/b": "3"}
        config = read([path], places)
        assert config == {"Transformer": {"factor_config": [20, 11, 33]}, "notes": [{"a": 1, "b": 3}]}

    @pytest.mark.parametrize("place", ["3", "-1", "first"])
    def test_places_that_a_list_does_not_have(self, tmp_path, place):
        path = write(tmp_path, "sizes: [22, 11, 31]")
        with pytest.raises(UserError) as caught:
            read([path], {f"sizes/{place}": "20"})
        assert str(caught.value) == f"--sizes/{place}: {place} is no place of this list of 3; expected a number below 3"

    def test_overrides_come_last(self, tmp_path):
        path = write(tmp_path, "a: {x: 1}\n")
        assert read([path], {"a/x": "-5", "a/new/key": "[1]"}) == {"a": {"x": -5, "new": {"key": [1]}}}

    def test_inputs_stay_as_they_are(self):
        base, layer = {"a": {"x": 1}}, {"a": {"y": 2}}
        merge(base, layer)
        assert base == {"a": {"x": 1}} and layer == {"a": {"y": 2}}

    def test_null_replaces(self):
        assert merge({"a": {"x": 1}}, {"a": None}) == {"a": None}

    def test_arguments_for_a_plain_class(self):
        config = read([], {"datasets/train/size": "64"}, base=good())
        assert config["datasets"]["train"] == {"class": f"{HERE}.Digits", "size": 64}

    @pytest.mark.parametrize(
        ("before", "later"), [("learning_rate", "base_learning_rate"), ("num_epochs", "num_steps")]
    )
    def test_later_spelling_replaces_the_earlier(self, tmp_path, before, later):
        path = write(tmp_path, f"{before}: 3\n")
        assert read([path], {later: "5"}) == {later: 5}
        assert read([path], {later: "null"})[before] == 3
        assert read([write(tmp_path, f"{before}: 3\n{later}: 5\n")]) == {before: 3, later: 5}

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b"])
    def test_empty_names(self, key):
        with pytest.raises(UserError, match="empty name"):
            read([], {key: "1"})

    def test_value_that_is_no_yaml(self):
        with pytest.raises(UserError, match=r"^--Model/a:1:"):
            read([], {"Model/a": "[1, 2"})


class TestRunKeys:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("1e1", "10.0 is a number with a decimal point"),
            ("010", '"010" is text'),
            ("1:30", '"1:30" is text'),
            ("yes", "got true"),
            ("25.0", "25.0 is a number with a decimal point"),
            ("-5", "got -5"),
            ("0", "got 0"),
            ("[1]", "[1] is a list"),
            ("{a: 1}", '{"a": 1} is a mapping'),
        ],
    )
    def test_batch_size(self, text, shown):
        config = read([], {"batch_size": text}, base=good())
        assert complaint(config) == f"batch_size: {shown}; expected a whole number of at least 1"

    @pytest.mark.parametrize("text", ['"0.0001"', "0", "-1e-4", "true", ".nan", ".inf", "1:30"])
    def test_learning_rate(self, text):
        config = read([], {"learning_rate": text}, base=good())
        message = complaint(config)
        assert message.startswith("learning_rate: ") and message.endswith("; expected a number above 0")

    @pytest.mark.parametrize("value", [1, 1e-4, 0.5])
    def test_good_learning_rates(self, value):
        assert check(good(learning_rate=value))["learning_rate"] == value

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("seed", -1),
            ("seed", 2**32),
            ("batch_size", 10**400),
            ("learning_rate", float("inf")),
            ("learning_rate", float("nan")),
            ("num_steps", 1e5),
            ("ckpt_freq", 0),
            ("n_data_processes", -1),
            ("test_mode", "yes"),
            ("test_mode", 1),
            ("trainer", [1]),
            ("datasets", "a.b"),
            ("experiment_name", 3),
            ("evaluation", "fid"),
        ],
    )
    def test_others(self, key, value):
        assert complaint(good(**{key: value})).splitlines()[-1].strip().startswith(f"{key}")

    def test_a_config_that_only_evaluates_does_not_train(self):
        assert complaint(good(test_mode=True)).startswith("test_mode: true, so the config only evaluates")
        assert check(good(test_mode=True), train=False)["test_mode"] is True

    def test_defaults_are_filled_in(self):
        config = check(good(batch_size=None))
        assert config["batch_size"] == 25 and config["seed"] == 0 and config["trainer"] == {}
        assert "num_epochs" not in config and "fid" not in config

    def test_null_is_not_given(self):
        config = check(read([], {"num_epochs": "null", "fid": "null"}, base=good()))
        assert "num_epochs" not in config

    def test_pairs(self):
        assert complaint(good(num_epochs=3)) == "num_steps, num_epochs: both are given; keep one of them"
        assert complaint(good(num_steps=None)) == "num_steps: missing; give it, or num_epochs"
        assert complaint(good(learning_rate=None)) == "learning_rate: missing; give it, or base_learning_rate"
        assert check(good(learning_rate=None, num_steps=None), train=False)

    def test_null_sections_are_not_given(self):
        words = {"Model": "null", "Transformer/in_channels": "5", "first_stage": "null"}
        config = read([], words, base=good())
        assert PARTS["model"].build(check(config), "model").layer.in_features == 5

    def test_free_notes(self):
        assert check(good(notes="a thought"))["notes"] == "a thought"
        assert check(good(notes={"who": "me", "when": 3}))


class TestNames:
    @pytest.mark.parametrize(
        ("key", "near"),
        [
            ("numsteps", "num_steps"),
            ("Modle", "Model"),
            ("datasest", "datasets"),
            ("weight_decy", "weight_decay"),
        ],
    )
    def test_unknown_key(self, key, near):
        assert f"{key}: unknown key; did you mean {near}?" in complaint(good(**{key: 1}))

    def test_mistyped_section_of_an_override(self):
        config = read([], {"Transfomer/n_flow": "3"}, base=good())
        assert complaint(config) == "Transfomer: unknown key; did you mean Transformer?"

    def test_split(self):
        config = good(datasets={"train": f"{HERE}.Digits", "vaildation": f"{HERE}.Digits"})
        message = complaint(config)
        assert "datasets/vaildation: unknown split; did you mean validation?" in message
        assert "datasets/validation: missing" in message

    def test_argument_of_the_model(self):
        message = complaint(good(Model={"in_channel": 64}))
        assert "Model/in_channel: unknown argument of Net; did you mean in_channels?" in message
        assert "Model/in_channels: missing; Net needs it, a whole number" in message

    def test_case(self):
        assert "did you mean in_channels?" in complaint(good(Model={"In_Channels": 4}))

    def test_kinds_of_arguments(self):
        message = complaint(good(Model={"in_channels": "4", "n_classes": True, "norm": "ann"}))
        assert 'Model/in_channels: "4" is text; expected a whole number' in message
        assert "Model/n_classes: got true; expected a whole number" in message
        assert 'Model/norm: "ann" is text; expected one of an, bn' in message

    def test_all_mistakes_at_once(self):
        config = good(
            batch_size=0, model="nosuch.Net", numsteps=3, trainer={"devicess": 1}, evaluation={"x": {}}
        )
        config["datasets"] = {"train": {"class": f"{HERE}.Digits", "sizes": 3}}
        lines = complaint(config).splitlines()
        assert lines[0] == "7 mistakes in the config"
        keys = [line.strip().split(":")[0] for line in lines[1:]]
        assert {"batch_size", "evaluation/x", "trainer/devicess", "model", "numsteps"} < set(keys)
        assert {"datasets/validation", "datasets/train/sizes"} < set(keys)

    def test_one_mistake_is_one_line(self):
        assert "\n" not in complaint(good(batch_size=0))

    def test_iterator_keys_are_allowed_and_checked(self):
        assert check(good(weight_decay=0.1))["weight_decay"] == 0.1
        assert complaint(good(weight_decay="a")) == 'weight_decay: "a" is text; expected a number'

    def test_iterator_with_any_arguments(self):
        assert check(good(iterator=f"{HERE}.FreeTask", my_own_key=3))["my_own_key"] == 3

    def test_model_section_has_two_names(self):
        assert check(good(Model=None, Transformer={"in_channels": 3}))
        assert "Model, Transformer: both are given" in complaint(good(Transformer={"in_channels": 3}))

    def test_sections_without_a_use(self):
        assert "loss: Task does not use it; remove it" in complaint(good(loss=f"{HERE}.Loss"))
        assert "Loss: unknown key" in complaint(good(Loss={"disc_start": 3}))
        assert "GreyboxModel: Task does not use it" in complaint(good(GreyboxModel={"layer": "a"}))

    def test_loss(self):
        config = good(iterator=f"{HERE}.LossTask")
        assert complaint(config) == "loss: missing; LossTask needs it"
        config |= {"loss": f"{HERE}.Loss", "Loss": {"disc_strt": 3}}
        assert complaint(config) == "Loss/disc_strt: unknown argument of Loss; did you mean disc_start?"
        assert check(config | {"Loss": {"disc_start": None}}) and check(config | {"Loss": None})

    def test_nothing_at_all(self):
        message = complaint({"notes": "x"})
        assert "iterator: missing" in message and "datasets/train: missing" in message

    def test_section_that_is_no_mapping(self):
        assert complaint(good(Model=[1])) == "Model: [1] is a list; expected a mapping, the arguments of Net"

    def test_trainer(self):
        assert check(
            good(trainer={"check_val_every_n_epoch": 5, "precision": "bf16-mixed", "devices": [0, 1]})
        )
        assert "trainer/max_steps: is set by the run; use num_steps" in complaint(
            good(trainer={"max_steps": 5})
        )
        assert "trainer/precision" in complaint(good(trainer={"precision": "bf17"}))
        assert "trainer/precision" in complaint(good(trainer={"precision": {"class": "a"}}))

    def test_other_machines_are_waited_for_only_where_a_launcher_names_them(self, monkeypatch):
        monkeypatch.delenv("MASTER_ADDR", raising=False)
        message = complaint(good(trainer={"num_nodes": 3}))
        assert "trainer/num_nodes: got 3; expected 1 here: no launcher names other machines" in message
        monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
        check(good(trainer={"num_nodes": 3}))

    @pytest.mark.parametrize("precision", [64, "64-true", "16-true", "bf16-true", "transformer-engine"])
    def test_C29_weights_stay_in_single_precision(self, precision):
        message = complaint(good(trainer={"precision": precision}))
        assert f"trainer/precision: got {precision}; expected 32-true, 16-mixed or bf16-mixed" in message

    @pytest.mark.parametrize("n", [10**30, -(10**19)])
    def test_numbers_that_no_tensor_holds(self, n):
        assert "Model/width: " in complaint(good(Model={"width": n})) and "expected a number between" in complaint(
            good(Model={"width": n})
        )
        assert "trainer/fast_dev_run: is set by the run; use -d" in complaint(good(trainer={"fast_dev_run": True}))

    @pytest.mark.parametrize("name", ["check_val_every_n_epoch", "limit_train_batches", "limit_val_batches"])
    def test_trainer_that_does_nothing(self, name):
        assert complaint(good(trainer={name: 0})) == f"trainer/{name}: got 0; expected more than 0"


class TestEvaluations:
    @pytest.fixture(autouse=True)
    def registry(self, monkeypatch):
        monkeypatch.setattr("invariances.evaluation.EVALUATIONS", {"metric": Metric, "fid": Metric})

    def test_registered_and_own(self):
        config = good(
            evaluation={"metric": {"n_samples": 2}, "mine": {"class": f"{HERE}.Metric"}, "fid": None}
        )
        built = build_evaluations(check(config))
        assert {name: metric.n_samples for name, metric in built.items()} == {"metric": 2, "mine": 8}

    def test_fid_at_the_top_level(self):
        built = build_evaluations(check(good(fid={"n_samples": 5})))
        assert built["fid"].n_samples == 5
        assert "both are given" in complaint(good(fid={"n_samples": 5}, evaluation={"fid": {}}))

    def test_mistakes(self):
        assert (
            "evaluation/metrc: unknown evaluation; expected a registered name or a `class`; did you mean metric?"
            in complaint(good(evaluation={"metrc": {}}))
        )
        assert "evaluation/metric/n: unknown argument" in complaint(good(evaluation={"metric": {"n": 3}}))
        assert "evaluation/metric: got 3" in complaint(good(evaluation={"metric": 3}))

    def test_not_an_evaluation(self):
        message = complaint(good(evaluation={"x": {"class": "subprocess.Popen", "args": "touch /tmp/x"}}))
        assert message.startswith("evaluation/x: subprocess.Popen belongs to neither invariances nor torch.nn")
        allow("subprocess")
        message = complaint(good(evaluation={"x": {"class": "subprocess.Popen", "args": "touch /tmp/x"}}))
        assert message.startswith("evaluation/x: subprocess.Popen is not")


class TestFrozenNetworks:
    @pytest.fixture(autouse=True)
    def greybox(self, monkeypatch):
        monkeypatch.setattr("invariances.models.Greybox", Greybox, raising=False)

    def config(self, **changes: Any) -> dict[str, Any]:
        sections = {
            "GreyboxModel": {"checkpoint": "latest:clf", "layer": "conv1"},
            "AutoencoderModel": {"checkpoint": "latest:ae"},
        }
        return good(iterator=f"{HERE}.FrozenTask") | sections | changes

    def test_good(self):
        assert check(self.config())
        assert check(
            self.config(GreyboxModel={"model": "torchvision:alexnet", "layer": "fc6", "weights": "V1"})
        )
        with_class = {
            "model": f"{HERE}.Net",
            "checkpoint": "a.ckpt",
            "subconfig": {"Model": {"in_channels": 3}},
        }
        assert check(self.config(AutoencoderModel=with_class))

    @pytest.mark.parametrize(
        ("section", "value", "message"),
        [
            (
                "GreyboxModel",
                {"checkpoint": "a", "layers": "b"},
                "GreyboxModel/layers: unknown argument of Greybox; did",
            ),
            ("GreyboxModel", {"checkpoint": "a"}, "GreyboxModel/layer: missing"),
            ("GreyboxModel", {"layer": "a"}, "GreyboxModel/model: missing"),
            ("GreyboxModel", {"layer": "a", "model": "m", "checkpoint": "c"}, "both are given"),
            (
                "GreyboxModel",
                {"layer": "a", "checkpoint": 3},
                "GreyboxModel/checkpoint: got 3; expected a path",
            ),
            ("GreyboxModel", "conv1", 'GreyboxModel: "conv1" is text'),
            ("GreyboxModel", {"model": "os.abort", "layer": "a"}, "add --allow os"),
            ("GreyboxModel", {"model": "subprocess.Popen", "layer": "a"}, "add --allow subprocess"),
            ("GreyboxModel", {"model": "nosuch.Net", "layer": "a"}, "GreyboxModel/model: no module named nosuch"),
            ("GreyboxModel", {"model": f"{HERE}.Net", "layer": "a"}, "GreyboxModel/model/in_channels: missing"),
            ("AutoencoderModel", {}, "AutoencoderModel/checkpoint: missing"),
            ("AutoencoderModel", {"checkpont": "a"}, "unknown key; did you mean checkpoint?"),
            ("AutoencoderModel", "a.ckpt", "expected a mapping with checkpoint"),
            ("AutoencoderModel", {"checkpoint": "a", "subconfig": {"Model": {}}}, "not used without"),
            (
                "AutoencoderModel",
                {"checkpoint": "a", "model": f"{HERE}.Net"},
                "subconfig/Model/in_channels: missing",
            ),
            (
                "AutoencoderModel",
                {"checkpoint": "a", "model": "nosuch.Net"},
                "AutoencoderModel/model: no module",
            ),
            ("AutoencoderModel", {"checkpoint": "a", "subconfig": 3}, "expected a mapping with Model"),
        ],
    )
    def test_mistakes(self, section, value, message):
        assert message in complaint(self.config(**{section: value}))

    def test_missing(self):
        config = self.config()
        del config["GreyboxModel"]
        assert complaint(config) == "GreyboxModel: missing; FrozenTask needs it"


class TestLocate:
    @pytest.fixture(autouse=True)
    def path(self, monkeypatch):
        monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
        allow("broken_model", "outer_module_of_test", "model_of_the_current_folder", "colorsys")

    def complain(self, path: Any, base: str | None = None) -> str:
        with pytest.raises(UserError) as caught:
            locate(path, "model", base)
        message = str(caught.value)
        assert message.startswith("model: ") and "\n" not in message
        return message.removeprefix("model: ")

    def test_found(self):
        assert locate(f"{HERE}.Net", "model") is Net

    @pytest.mark.parametrize(
        "path", ["ae", "", ".", "a.", ".a.B", "a..B", "a b.C", "a.b-c.D", "os.system('x')", 3, None, [1]]
    )
    def test_no_dotted_path(self, path):
        assert "is not a dotted class path" in self.complain(path)

    def test_no_such_module(self):
        assert self.complain("nosuchmodule.Model").startswith("no module named nosuchmodule")
        assert self.complain("invariances.confg.Model") == (
            "no module named invariances.confg; did you mean invariances.config?"
        )
        assert self.complain("invariances.errors.deeper.Model").startswith(
            "no module named invariances.errors.deeper"
        )

    def test_misspelt_names_of_the_older_projects(self, monkeypatch):
        # earlier tests have searched their own folders, of which one may hold configs in a folder `iin`
        monkeypatch.setattr(sys, "path", [place for place in sys.path if "pytest-of-" not in place])
        assert self.complain("iin.models.ae.Modell") == "no module named iin; did you mean iin.models.ae.Model?"

    def test_no_such_name(self):
        assert self.complain(f"{HERE}.Nett") == f"module {HERE} has no Nett; did you mean Net?"

    @pytest.mark.parametrize(("name", "kind"), [("function", "a function"), ("NUMBER", "an int")])
    def test_not_a_class(self, name, kind):
        assert self.complain(f"{HERE}.{name}") == f"{HERE}.{name} is {kind}; expected a class"

    def test_a_module(self):
        assert "is a module; expected a class" in self.complain("invariances.errors")

    def test_base(self):
        assert self.complain(f"{HERE}.Digits", "torch.nn.Module").startswith(
            f"{HERE}.Digits is not a torch.nn.Module"
        )

    @pytest.mark.parametrize(
        ("source", "cause", "line"),
        [
            ("import os\nimport nosuchpackage\n", "ModuleNotFoundError: No module named 'nosuchpackage'", 2),
            ("x = 1\ndef f(:\n", "SyntaxError: ", 2),
            ("\n\nraise KeyError('weights')\n", "KeyError: 'weights'", 3),
            ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError: division by zero", 2),
            ("import sys\nsys.exit(3)\n", "SystemExit: 3", 2),
            (
                "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError('late')\n",
                "ZeroDivisionError",
                2,
            ),
            (
                "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError('late') from None\n",
                "ValueError",
                4,
            ),
            ("from invariances.errors import Nope\n", "ImportError: cannot import name 'Nope'", 1),
        ],
    )
    def test_import_fails_inside(self, tmp_path, monkeypatch, source, cause, line):
        monkeypatch.chdir(tmp_path)
        path = write(tmp_path, source, "broken_model.py")
        message = self.complain("broken_model.Model")
        assert message.startswith(f"importing broken_model failed: {cause}")
        assert message.endswith(f"({path}, line {line})")
        assert "broken_model" not in sys.modules

    def test_import_fails_in_a_module_that_the_module_imports(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write(tmp_path, "import inner_module_of_test\n", "outer_module_of_test.py")
        inner = write(tmp_path, "import nosuchpackage\n", "inner_module_of_test.py")
        message = self.complain("outer_module_of_test.Model")
        assert message.endswith(f"No module named 'nosuchpackage' ({inner}, line 1)")

    def test_module_in_the_current_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write(tmp_path, "class Model: pass\n", "model_of_the_current_folder.py")
        assert locate("model_of_the_current_folder.Model", "model").__name__ == "Model"
        sys.modules.pop("model_of_the_current_folder")

    def test_current_folder_hides_no_installed_module(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write(tmp_path, "raise SystemExit('taken over')\n", "colorsys.py")
        sys.modules.pop("colorsys", None)
        assert "has no Model" in self.complain("colorsys.Model")

    @pytest.mark.parametrize("key", ["model", "loss", "iterator"])
    def test_nothing_but_models_is_ever_called(self, key, tmp_path):
        """A config cannot have an arbitrary class called with arguments of its choice."""
        config = good(iterator=f"{HERE}.LossTask", loss=f"{HERE}.Loss") | {key: "subprocess.Popen"}
        assert f"{key}: subprocess.Popen belongs to neither" in complaint(config)
        allow("subprocess")
        assert f"{key}: subprocess.Popen is not a" in complaint(config)
        with pytest.raises(UserError, match="is not a"):
            locate(config[key], key, "torch.nn.Module")
        with pytest.raises(UserError, match="is not a"):
            PARTS["model"].build({"model": "subprocess.Popen", "Model": {"args": f"touch {tmp_path}/x"}}, "model")
        assert not (tmp_path / "x").exists()

    def test_data_set(self):
        datasets = {"train": "subprocess.Popen", "validation": "shelve.DbfilenameShelf"}
        assert "datasets/train: subprocess.Popen belongs to neither" in complaint(good(datasets=datasets))
        allow("subprocess", "shelve")
        message = complaint(good(datasets=datasets))
        assert "datasets/train: subprocess.Popen is not a data set" in message
        assert "datasets/validation: shelve.DbfilenameShelf is not a data set" in message


class TestKinds:
    @pytest.mark.parametrize(
        ("annotation", "fitting", "other"),
        [
            (int, [0, -3], [1.0, True, "1", None, [1]]),
            (float, [0.5, 3], [True, "0.5", None]),
            (bool, [True, False], [0, 1, "yes"]),
            (str, ["a", ""], [1, None, ["a"]]),
            (Path, ["a/b"], [1, None]),
            (int | None, [3, None], [3.0, "a"]),
            (Literal["a", 1], ["a", 1], ["b", True, 1.0]),
            (list[int], [[], [1, 2]], [[1.0], ["a"], "ab", 3]),
            (list[int] | None, [None, [22, 11, 31]], ["22,11,31", [22.0, 11]]),
            (tuple[int, int], [[1, 2]], [[1], [1, 2, 3], [1, "a"], 1]),
            (tuple[float, ...], [[], [1, 2.5]], [["a"], 3]),
            (dict[str, int], [{}, {"a": 1}], [{"a": 1.5}, [], 1]),
            (Any, [1, "a", None, [], {}], []),
            (nn.Module | str, ["torchvision:alexnet"], [3, None, ["a"]]),
            (nn.Module, [], ["a", 3, {}]),
        ],
    )
    def test_fits(self, annotation, fitting, other):
        assert all(fits(value, annotation) for value in fitting)
        assert not any(fits(value, annotation) for value in other)

    @pytest.mark.parametrize(
        ("value", "annotation", "expected"),
        [
            (1, float, 1.0),
            (1, float | None, 1.0),
            (1, int | float, 1),
            ([1, 2], tuple[int, int], (1, 2)),
            ([1, 2], list[int], [1, 2]),
            ("a/b", Path, Path("a/b")),
            ("a", str | Path, "a"),
            (None, float | None, None),
            (True, bool, True),
        ],
    )
    def test_cast(self, value, annotation, expected):
        result = cast(value, annotation)
        assert result == expected and type(result) is type(expected)

    @pytest.mark.parametrize(
        ("annotation", "words"),
        [
            (int | None, "a whole number or null"),
            (Literal["none", "tanh"], "one of none, tanh"),
            (list[int], "a list of whole numbers"),
            (dict[str, int], "a mapping"),
            (Path, "a path"),
            (bool, "true or false"),
            (nn.Module | str, "a network as {checkpoint: …}, or {model: …, layer: …} or text"),
        ],
    )
    def test_describe(self, annotation, words):
        assert describe(annotation) == words

    def test_parameters_reach_through_kwargs(self):
        found, anything = parameters(Task)
        assert set(found) == {"weight_decay", "model", "learning_rate", "num_steps"} and not anything
        assert parameters(FreeTask)[1]

    def test_class_without_constructor(self):
        class Plain:
            pass

        assert parameters(Plain) == ({}, False)
        assert list(mistakes(Plain, {"a": 1}, "Model")) == ["Model/a: unknown argument of Plain"]

    def test_annotations_that_cannot_be_resolved(self):
        class Lazy:
            def __init__(self, a: "OnlyForTypeChecking", b: int = 1) -> None: ...

        assert list(mistakes(Lazy, {"a": 1}, "Model")) == []
        assert list(mistakes(Lazy, {"c": 1}, "Model")) == [
            "Model/c: unknown argument of Lazy; known: a, b",
            "Model/a: missing; Lazy needs it",
        ]


class TestBuild:
    def test_model(self):
        assert PARTS["model"].build(check(good()), "model").layer.in_features == 4
        assert PARTS["model"].build(good(Model=None, Transformer={"in_channels": 7}), "model").layer.in_features == 7

    def test_constructor_refuses(self):
        with pytest.raises(UserError, match=r"^Model: in_channels is 0; expected at least 1$"):
            PARTS["model"].build(check(good(Model={"in_channels": 0})), "model")
        with pytest.raises(UserError, match=r"^datasets/train: size is 2; expected at least 8$"):
            build_dataset(good(datasets={"train": {"class": f"{HERE}.Digits", "size": 2}}), "train")

    def test_loss(self):
        assert PARTS["loss"].build({"loss": f"{HERE}.Loss", "Loss": {"disc_start": 12}}, "loss").disc_start == 12

    def test_dataset_takes_the_seed_of_the_run(self):
        config = check(good(seed=7))
        assert build_dataset(config, "train").seed == 7
        config["datasets"]["train"] = {"class": f"{HERE}.Digits", "seed": 3}
        assert build_dataset(config, "train").seed == 3
        assert build_dataset(config, "validation").size == 16

    def test_iterator(self):
        config = check(good(weight_decay=0.1, learning_rate=None, base_learning_rate=4.5e-6, batch_size=25))
        iterator = build_iterator(config, num_steps=10)
        assert isinstance(iterator, Task) and isinstance(iterator.model, Net)
        assert iterator.learning_rate == pytest.approx(1.125e-4) and iterator.weight_decay == 0.1

    def test_learning_rate_counts_whole_batch(self):
        assert learning_rate({"learning_rate": 1e-3, "batch_size": 50}) == 1e-3
        assert learning_rate({"base_learning_rate": 2e-6, "batch_size": 50}) == pytest.approx(1e-4)

    def test_saved_config_is_plain_and_complete(self):
        config = check(good())
        assert check(parse(dump(config), "x")) == config


ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))
COMMAND = re.compile(r"^#\s+edflow -b (.+?) (-t|-c)( .*)?$", re.MULTILINE)


def commands(path: Path) -> list[tuple[list[str], bool]]:
    """The files, and whether it trains, of each command in a config's head comment."""
    return [(found[1].split(), found[2] == "-t") for found in COMMAND.finditer(path.read_text())]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_config(path, monkeypatch):
    """Every config opens with a command that names it, and that command's configs are without mistakes."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT / "configs" / "custom")  # where the template's network is
    allow("my_models")
    uses = [use for use in commands(path) if str(path.relative_to(ROOT)) in use[0]]
    assert uses, f"{path} does not open with the command that uses it"
    for files, train in uses:
        config = check(read(files), train)
        assert config["experiment_name"]


def test_every_shipped_config_is_seen():
    assert len(SHIPPED) == sum(path.suffix == ".yaml" for path in (ROOT / "configs").glob("**/*"))
