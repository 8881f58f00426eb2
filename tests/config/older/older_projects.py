"""The configs of the older projects, written from their keys, class paths and published settings."""

from pathlib import Path

from invariances.config.reading import dump

SETS = {  # channels, size, epochs, start of the decay, start of the discriminator, name of the classes
    "mnist": (1, 32, 50, 100001, 25001, "MNIST"),
    "fashionmnist": (1, 32, 50, 100001, 25001, "FashionMNIST"),
    "cmnist": (3, 32, 50, 100001, 25001, "SingleColorfulMNIST"),
    "cifar": (3, 32, 300, 505001, 100001, "CIFAR10"),
    "celeba": (3, 64, 100, 505001, 100001, "CelebA"),
}
LOGGING = {"integrations": {"wandb": {"active": False, "project": "iin", "entity": None}}}
ALEXNET = {  # split_idx, channels, size, halvings
    "conv5": (12, 256, 13, 2),
    "fc6": (18, 4096, 1, 3),
    "fc7": (21, 4096, 1, 3),
    "fc8": (22, 1000, 1, 3),
    "softmax": (23, 1000, 1, 3),
}
RESNET = {  # split_idx, channels, size, of the embedder
    "input": (0, 3, 224, {"embedder_down": 5}),
    "maxpool": (4, 64, 56, {}),  # 4 halvings by default
    "layer1": (5, 256, 56, {"embedder_down": 4}),
    "layer2": (6, 512, 28, {"embedder_down": 3}),
    "layer3": (7, 1024, 14, {"embedder_down": 2}),
    "layer4": (8, 2048, 7, {"embedder_down": 1}),
    "avgpool": (9, 2048, 1, {"conditioning_depth": 6}),
    "fc": (11, 149, 1, {"conditioning_depth": 4}),
    "softmax": (12, 149, 1, {"conditioning_depth": 4}),
}


def _datasets(package: str, train: str, validation: str) -> dict:
    return {"datasets": {"train": f"{package}.data.{train}", "validation": f"{package}.data.{validation}"}}


def _training(epochs: int, decay_start: int) -> dict:
    return {
        "base_learning_rate": 4.5e-6, "batch_size": 25, "num_epochs": epochs, "decay_start": decay_start,
        "log_freq": 1000, "ckpt_freq": 1000, "ckpt_zero": True, "test_mode": False,
    }


def _encoder(d: str) -> dict:
    channels, size, *_ = SETS[d]
    return {"in_channels": channels, "in_size": size, "n_down": 4, "z_dim": 64, "norm": "an"}


def _statistics(d: str, path: str) -> dict:
    return {"fid": {"batch_size": 50}, "fid_stats": {"pre_calc_stat_path": path.format(d)}}


def _autoencoder(d: str, path: str, **loss: object) -> dict:
    channels, _, epochs, decay_start, disc_start, name = SETS[d]
    return {
        "model": "iin.models.ae.Model",
        "Model": {**_encoder(d), "deterministic": False},
        "loss": "iin.losses.ae.LossPND",
        "Loss": {
            "disc_in_channels": channels, "disc_start": disc_start, "logvar_init": 0.0, "perceptual_weight": 1.0,
            "disc_factor": 1.0, **loss,
        },
        "iterator": "iin.iterators.ae.Trainer",
        **_datasets("iin", f"{name}Train", f"{name}Test"), **_training(epochs, decay_start), **_statistics(d, path),
    }


def _first_stage(d: str, kind: str) -> dict:
    # n_classes stands beside Model
    subconfig = {"Model": _encoder(d)} | ({"n_classes": 10} if kind == "clf" else {})
    checkpoint = f"logs/{d}_{kind}/train/checkpoints/model.ckpt"
    return {"first_stage": {"model": f"iin.models.{kind}.Model", "checkpoint": checkpoint, "subconfig": subconfig}}


def _flow(d: str, kind: str, **factors: object) -> dict:
    prefix, loss = ("Factor", {"Loss": {"rho": 0.975}}) if factors else ("", {})
    return {
        "model": f"iin.models.iin.{prefix or 'Vector'}Transformer",
        "Transformer": {"in_channel": 64, "n_flow": 12, "hidden_depth": 2, "hidden_dim": 512, **factors},
        "loss": f"iin.losses.iin.{prefix}Loss", **loss,
        "iterator": f"iin.iterators.iin.{prefix}Trainer",
        **_first_stage(d, kind), **_training(*SETS[d][2:4]),
    }


def _iin() -> dict[str, dict]:
    gan = {"calibrate": True, "spectral_norm": True, "d_lr_factor": 4.0}
    found = {
        "mnist_ae": _autoencoder("mnist", "fid_stats/{}.npz", calibrate=True),
        "fashionmnist_ae": _autoencoder("fashionmnist", "/fid_stats/{}", calibrate=True, pixelloss="l1"),
        "cmnist_ae": _autoencoder("cmnist", "fid_stats/{}", discriminator_weight=150.0),  # calibrate: false by default
        "cifar_ae": _autoencoder("cifar", "fid_stats/{}", **gan),
        "celeba_ae": _autoencoder("celeba", "/fid_stats/{}.npz", **gan),
        "cmnist_clf": {
            "model": "iin.models.clf.Model", "Model": _encoder("cmnist"), "n_classes": 10,
            "iterator": "iin.iterators.clf.Trainer", **_training(50, 100001),
            **_datasets("iin", "SingleColorfulMNISTTrain", "SingleColorfulMNISTTest"),
        },
        "cmnist_dimeval": {
            "iterator": "iin.iterators.base.DimEvaluator",
            **_datasets("iin", "ColorfulMNISTTrain", "ColorfulMNISTTest"), "batch_size": 25, "num_epochs": 1,
        },
        "cmnist_diin": _flow("cmnist", "ae", n_factors=3)
        | _datasets("iin", "ColorfulMNISTTrain", "ColorfulMNISTTest"),
        "cmnist_clf_diin": _flow("cmnist", "clf", n_factors=3, factor_config=[22, 11, 31])
        | _datasets("iin", "ColorfulMNISTTrain", "ColorfulMNISTTest"),
        "celeba_diin": _flow("celeba", "ae", n_factors=5) | _datasets("iin", "FactorCelebATrain", "FactorCelebATest")
        | {"CelebAFactors": {"attributes": ["Eyeglasses", "Male", "No_Beard", "Smiling"]}},
    }
    for d in ("mnist", "fashionmnist", "cifar", "celeba"):
        name = SETS[d][-1]
        data = _datasets("iin", f"{name}Train", f"{name}Test")
        found[f"{d}_iin"] = _flow(d, "ae") | data | _statistics(d, "fid_stats/{}.npz")
    return found


def _cinn(autoencoder: str, steps: int) -> dict:
    return {
        "model": "invariances.model.cinn.ConditionalTransformer",
        "iterator": "invariances.iterator.cinn_trainer.AutoencoderConcatTrainer",
        "Transformer": {
            "activation": "none", "conditioning_option": "none", "hidden_depth": 2, "in_channels": 128,
            "mid_channels": 1024, "n_flows": 20,
        },
        "AutoencoderModel": {"pretrained_ae_key": autoencoder},
        "batch_size": 16, "base_learning_rate": 4.5e-6, "num_steps": steps, "log_freq": 250, "ckpt_freq": 10000,
        "n_data_processes": 2, "n_prefetch": 1, "eval_hook": None, "size": 128,
    }


def _condition(channels: int, size: int, **embedder: int) -> dict:
    return {"conditioning_in_channels": channels, "conditioning_spatial_size": size, **embedder}


def _alexnet() -> dict[str, dict]:
    greybox = {
        "model": "invariances.greybox.models.AlexNetClassifier",
        "subconfig": {"model": "invariances.greybox.classifiers.AlexNet", "Model": {"pretrained": True}},
    }
    data = _datasets("autoencoders", "ImageNetAnimalsTrain", "ImageNetAnimalsValidation")
    base = _cinn("bigae_animals", 250000) | data | {"GreyboxModel": greybox}
    dummy = {"model": "invariances.model.cinn.Dummy", "test_mode": True}
    dummy["pretrained_model"] = "invariances.model.cinn.ConditionalTransformer"
    evaluation = {key: value for key, value in base.items() if key not in ("Transformer", "num_steps")}
    found = {"alexnet/base_train": base, "alexnet/base_eval": evaluation | dummy}
    for layer, (split_idx, channels, size, down) in ALEXNET.items():
        place = {"GreyboxModel": {"split_idx": split_idx}}
        condition = _condition(channels, size, embedder_down=down)
        found[f"alexnet/train/{layer}"] = {**place, "Transformer": condition}
        found[f"alexnet/eval/{layer}"] = {**place, "pretrained_key": f"cinn_alexnet_aae_{layer}"}
    return found


def _resnet() -> dict[str, dict]:
    def base(classes: int, key: str, kind: str, steps: int) -> dict:
        subconfig = {
            "model": "invariances.greybox.classifiers.ResNet", "pretrained_key": key,
            "Model": {"n_classes": classes, "type": "resnet101"},
        }
        greybox = {"model": "invariances.greybox.models.ResnetClassifier", "subconfig": subconfig}
        data = _datasets("autoencoders", f"AnimalFaces{kind}Train", f"AnimalFaces{kind}Test")
        return _cinn("bigae_animalfaces", steps) | data | {"GreyboxModel": greybox}

    found = {
        "resnet/animalfaces/base": base(149, "resnet101_animalfaces_shared", "Shared", 250000),
        "resnet/animalfaces/base_restricted": base(10, "resnet101_animalfaces_10", "Restricted", 50000),
    }
    for layer, (split_idx, channels, size, embedder) in RESNET.items():
        condition = _condition(channels, size, **embedder)
        place = {"GreyboxModel": {"split_idx": split_idx}}
        found[f"resnet/animalfaces/train/{layer}"] = {**place, "Transformer": condition}
    return found


IIN = {f"iin/{name}": config for name, config in _iin().items()}
INVARIANCES = {f"invariances/{name}": config for name, config in (_alexnet() | _resnet()).items()}
CONFIGS = IIN | INVARIANCES
WANDB = {f"{project}/project": LOGGING for project in ("iin", "invariances")}


def write(root: Path) -> None:
    """Write all of them as `root/iin/*.yaml` and `root/invariances/**/*.yaml`."""
    for name, config in (CONFIGS | WANDB).items():
        path = root / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump(config))


def commands() -> list[list[str]]:
    """The configs that are given together after -b, one list for each of the 37: its own name comes last."""
    found = []
    for name in CONFIGS:
        if name == "iin/cmnist_dimeval":
            found.append(["iin/cmnist_clf", name])
        elif "/animalfaces/train/" in name:
            found.append(["invariances/resnet/animalfaces/base", name])
        elif "/base" in name:
            layer = {"base_train": "alexnet/train/fc6", "base_eval": "alexnet/eval/fc6"}
            found.append([name, f"invariances/{layer.get(name.rpartition('/')[2], 'resnet/animalfaces/train/layer4')}"])
        elif "/alexnet/" in name:
            kind = name.split("/")[2]
            found.append([f"invariances/alexnet/base_{kind}", name])
        else:
            found.append([name])
    return found
