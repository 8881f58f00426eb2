"""Configs of the older projects: what each key and class path becomes."""

import logging

import pytest

from invariances.config.older.aliases import ALIASES
from invariances.config.older.translating import translate

AE = {"model": "iin.models.ae.Model", "iterator": "iin.iterators.ae.Trainer", "loss": "iin.losses.ae.LossPND"}
CINN = {"model": "invariances.model.cinn.ConditionalTransformer"}


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", logger="invariances")


class TestClassPaths:
    @pytest.mark.parametrize("path", sorted(ALIASES))
    def test_each(self, path):
        assert translate({"key": {"deep": path}})["key"]["deep"] == ALIASES[path]

    def test_large_autoencoders(self):
        assert translate({"model": "autoencoders.models.bigae.BigAE"})["model"] == "invariances.models.BigAE"

    def test_a_present_config_is_unchanged_and_nothing_is_said(self, caplog):
        config = {"model": "invariances.models.Autoencoder", "size": 3, "Loss": {"pixelloss": 1}, "val_freq": 2}
        assert translate(config) == config and not caplog.messages

    def test_the_given_config_is_not_changed(self):
        config = AE | {"Loss": {"pixelloss": "l1"}}
        translate(config)
        assert config["Loss"] == {"pixelloss": "l1"}


class TestKeys:
    def test_loss_of_an_autoencoder(self):
        found = translate(AE | {"Loss": {"pixelloss": "l2", "d_lr_factor": 4, "disc_factor": 0.5, "calibrate": True}})
        assert found["Loss"] == {"disc_factor": 0.5, "calibrate": True, "pixel_loss": "l2"}
        assert found["d_lr_factor"] == 4

    def test_loss_of_flows(self):
        found = translate({"loss": "iin.losses.iin.FactorLoss", "Loss": {"rho": 0.9}, "model": AE["model"]})
        assert found["rho"] == 0.9 and not {"loss", "Loss"} & found.keys()

    def test_number_of_classes(self):
        stage = {"model": "iin.models.clf.Model", "subconfig": {"Model": {"z_dim": 64}, "n_classes": 10}}
        found = translate({"model": "iin.models.clf.Model", "n_classes": 7, "first_stage": stage})
        assert found["Model"] == {"n_classes": 7}
        assert found["first_stage"]["subconfig"] == {"Model": {"z_dim": 64, "n_classes": 10}}

    @pytest.mark.parametrize(
        ("subconfig", "expected"),
        [
            ({}, {"model": "torchvision:alexnet", "weights": "IMAGENET1K_V1"}),
            ({"Model": {"pretrained": False}}, {"model": "torchvision:alexnet", "weights": None}),
            ({"pretrained_key": "resnet101_animalfaces_10"}, {"checkpoint": "zoo:resnet101_animalfaces_10"}),
            (
                {"model": "invariances.greybox.classifiers.ResNet", "Model": {"type": "resnet50", "pretrained": True}},
                {"model": "torchvision:resnet50", "weights": "IMAGENET1K_V1"},
            ),
        ],
    )
    def test_network_under_study(self, subconfig, expected):
        model = "invariances.greybox.models.AlexNetClassifier"
        found = translate({"GreyboxModel": {"model": model, "split_idx": 12, "subconfig": subconfig}})
        assert found["GreyboxModel"] == {"split_idx": 12} | expected

    def test_released_autoencoder(self):
        found = translate(CINN | {"AutoencoderModel": {"pretrained_ae_key": "bigae_animals"}})
        assert found["AutoencoderModel"] == {"checkpoint": "zoo:bigae_animals"}

    def test_released_flow(self):
        given = {"model": "invariances.model.cinn.Dummy", "pretrained_model": CINN["model"], "pretrained_key": "cinn_x"}
        found = translate(given)
        assert found["checkpoint"] == "zoo:cinn_x" and "model" not in found and "pretrained_key" not in found

    def test_arguments_of_data_sets(self):
        path = "autoencoders.data.Folder"
        folders = {"train": path, "validation": {"class": path, "seed": None}}
        found = translate({"datasets": folders, "Folder": {"folder": "cats", "size": 64}, "size": 128})
        own = {"class": "invariances.data.Folder", "folder": "cats", "size": 64}
        assert found["datasets"] == {"train": own, "validation": own | {"seed": None}}
        assert not {"Folder", "size"} & found.keys()

    def test_size_beside_the_data_sets(self):
        found = translate({"datasets": {"train": "autoencoders.data.ImageNetAnimalsTrain"}, "size": 128})
        assert found["datasets"]["train"] == {"class": "invariances.data.ImageNetAnimalsTrain", "size": 128}

    def test_attributes(self):
        sets = {"train": "iin.data.FactorCelebATrain", "validation": "iin.data.CelebATest"}
        found = translate({"datasets": sets, "CelebAFactors": {"attributes": ["Male"]}})["datasets"]
        assert found["train"]["factors"] == ["Male"] and "factors" not in found["validation"]

    @pytest.mark.parametrize("start", ["", "/"])
    @pytest.mark.parametrize("end", ["", ".npz"])
    def test_statistics(self, start, end):
        path = f"{start}fid_stats/mnist{end}"
        found = translate(AE | {"fid_stats": {"pre_calc_stat_path": path}})
        assert found["fid_stats"] == {"pre_calc_stat_path": "fid_stats/mnist.npz"} and found["fid"] == {}

    def test_statistics_at_an_absolute_path_that_exists(self, tmp_path):
        (tmp_path / "mnist.npz").touch()
        found = translate(AE | {"fid_stats": {"pre_calc_stat_path": str(tmp_path / "mnist")}})
        assert found["fid_stats"]["pre_calc_stat_path"] == str(tmp_path / "mnist.npz")

    def test_trainer_of_the_time(self, caplog):
        given = {"val_freq": 500, "max_batches_per_epoch": 9, "ckpt_zero": True, "n_prefetch": 2, "eval_hook": None}
        found = translate(AE | given)
        trainer = {"val_check_interval": 500, "check_val_every_n_epoch": None, "limit_train_batches": 9}
        assert found["trainer"] == trainer and not given.keys() & found.keys()
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert warnings == ["not used, for want of a counterpart: ckpt_zero, n_prefetch"]


class TestDefaults:
    def test_flow(self):
        flow = {"in_channels": 128, "conditioning_spatial_size": 13}
        found = translate(CINN | {"Transformer": flow})["Transformer"]
        assert found == flow | {"activation": "lrelu", "embedder_down": 4}
        vector = translate(CINN | {"Transformer": {"conditioning_spatial_size": 1, "activation": "none"}})
        assert vector["Transformer"] == {"conditioning_spatial_size": 1, "activation": "none"}

    def test_autoencoder(self, caplog):
        found = translate(AE)
        assert found["Loss"] == {"calibrate": False} and found["log_freq"] == 1000
        said = [message for message in caplog.messages if message.startswith("left out")]
        assert len(said) == 1 and "Loss/calibrate false" in said[0] and "log_freq 1000" in said[0]

    def test_published_protocol(self):
        pairs = {"train": "iin.data.ColorfulMNISTTrain", "validation": "iin.data.CelebATest"}
        found = translate({"datasets": pairs})["datasets"]
        assert found["train"]["other_class"] is False and found["validation"]["antialias"] is False

    def test_pictures_of_what_can_be_decoded(self):
        flow = {"iterator": "iin.iterators.iin.FactorTrainer"}
        assert translate(AE)["evaluation"] == {"grid": {}}
        assert translate(flow | {"first_stage": {"model": "iin.models.ae.Model"}})["evaluation"] == {"grid": {}}
        assert "evaluation" not in translate(flow | {"first_stage": {"model": "iin.models.clf.Model"}})


def test_one_block_says_what_was_mapped(caplog):
    translate(AE | {"Loss": {"pixelloss": "l1"}, "n_classes": 3})
    blocks = [message for message in caplog.messages if message.startswith("config of an older project")]
    assert len(blocks) == 1
    assert "\n  Loss/pixelloss: Loss/pixel_loss\n" in blocks[0]
    assert "\n  model iin.models.ae.Model: invariances.models.Autoencoder" in blocks[0]


class TestDimEvaluator:
    FILE = {  # noqa: RUF012
        "iterator": "iin.iterators.base.DimEvaluator",
        "datasets": {"validation": "iin.data.ColorfulMNISTTest"},
    }

    def test_laid_over_a_classifier(self):
        found = translate({"model": "iin.models.clf.Model", "n_classes": 10, "fid": {}} | self.FILE)
        assert found["iterator"] == "invariances.iterators.ClassifierIterator" and found["test_mode"] is True
        assert found["evaluation"] == {"factor_sizes": {"factors": ["digit", "colour"]}} and "fid" not in found

    def test_of_a_first_stage(self):
        stage = {"model": "iin.models.ae.Model", "checkpoint": "a.ckpt", "subconfig": {"Model": {"z_dim": 8}}}
        flow = {"model": "iin.models.iin.VectorTransformer", "Transformer": {}, "first_stage": stage}
        found = translate(flow | self.FILE)
        assert found["model"] == "invariances.models.Autoencoder" and found["Model"] == {"z_dim": 8}
        assert found["checkpoint"] == "a.ckpt" and not {"Transformer", "first_stage"} & found.keys()
        assert found["iterator"] == "invariances.iterators.AutoencoderIterator" and "loss" in found

    def test_of_what_a_checkpoint_holds(self):
        assert not {"model", "iterator"} & translate(self.FILE).keys()
