"""Configs of the older projects, translated to present ones: class paths, keys, defaults.

Nothing else in the package knows the older keys. `translate` logs one block that says what it has mapped, one line with
the defaults of that time, and one warning with the keys that have no counterpart.
"""

import logging
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invariances.config.older.aliases import BUILT_IN, DIM_EVALUATOR, GREYBOXES, is_old, renamed

log = logging.getLogger(__name__)

Config = dict[str, Any]
RELEASED = "zoo:"  # before the name of a released checkpoint
ATTRIBUTES = ["Eyeglasses", "Male", "No_Beard", "Smiling"]  # factors of the pairs of faces
CLASSIFIERS = {"iin.iterators.clf.Trainer", "iin.models.clf.Model"}  # their codes cannot be shown as images
# Keys of the trainer of that time that nothing here corresponds to.
UNUSED = (
    "ckpt_zero",
    "code_root",
    "eval_all",
    "eval_hook",
    "eval_pipeline",
    "n_prefetch",
    "no_restore_keys",
    "start_log_freq",
    "test_batch_size",
)


@dataclass
class Notes:
    """What a translation has done, one entry a key.

    Attributes:
        mapped: keys and values, and what they are here.
        defaults: keys that were left out, with the values that they had then.
        unused: keys without a counterpart.
    """

    mapped: dict[str, str] = field(default_factory=dict)
    defaults: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def write(self) -> None:
        """Log them."""
        lines = "".join(f"\n  {old}: {present}" for old, present in self.mapped.items())
        log.info("config of an older project, read as%s", lines)
        if self.defaults:
            log.info("left out, so as the older project had it: %s", ", ".join(self.defaults))
        if self.unused:
            log.warning("not used, for want of a counterpart: %s", ", ".join(self.unused))


def translate(config: Mapping[str, Any]) -> Config:
    """The config in present terms; unchanged if it has no class path of an older project.

    >>> translate({"datasets": {"train": "iin.data.CelebATrain"}, "log_freq": 100})
    {'datasets': {'train': {'class': 'invariances.data.CelebATrain', 'antialias': False}}, 'log_freq': 100}
    """
    present = deepcopy(dict(config))
    if not names_old(present):
        return present
    notes = Notes()
    for rule in RULES:
        rule(present, notes)
    present = _rename_classes(present, notes)
    notes.write()
    return present


def names_old(value: Any) -> bool:
    """Whether a config has a class path of an older project."""
    return any(map(names_old, value.values())) if isinstance(value, Mapping) else is_old(value)


def _rename_classes(value: Any, notes: Notes, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _rename_classes(item, notes, f"{key}/{name}".lstrip("/")) for name, item in value.items()}
    if not is_old(value):
        return value
    notes.mapped[f"{key} {value}"] = renamed(value)
    return renamed(value)


def _section(config: Config, path: str) -> Config:
    """The section at `A/B`, to read and change; an empty one, part of nothing, if there is none."""
    found: Any = config
    for name in path.split("/"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _default(notes: Notes, section: Config, name: str, key: str, value: Any) -> None:
    """Give a key of a section the value that it had by default."""
    if key not in section:
        section[key] = value
        notes.defaults.append(f"{name}{key} {str(value).lower()}")


# One rule for each part of a config: it changes the config, in which class paths are still the older ones.


def _pretrained(config: Config, notes: Notes) -> None:
    """`pretrained_key`: a released flow, with its class and arguments; `model` only stood in its place."""
    if "pretrained_key" in config:
        config["checkpoint"] = RELEASED + config.pop("pretrained_key")
        classes = {config.pop(key) for key in ("model", "pretrained_model") if key in config}
        notes.mapped["pretrained_key"] = f"checkpoint {config['checkpoint']}, in place of {', '.join(sorted(classes))}"


def _dim_evaluator(config: Config, notes: Notes) -> None:
    """Factor sizes of the model that another file names; of the first stage, if that is a flow or there is none."""
    if config.get("iterator") != DIM_EVALUATOR:
        return
    if "first_stage" in config and ("model" not in config or "Transformer" in config):
        _take_first_stage(config)
    for key in ("iterator", "fid", "fid_stats"):
        config.pop(key, None)
    if "model" in config:  # else the checkpoint has all of it
        classifies = renamed(config["model"]).endswith("Classifier")
        config["iterator"] = f"invariances.iterators.{'Classifier' if classifies else 'Autoencoder'}Iterator"
        if not classifies and "loss" not in config:
            config |= {"loss": "invariances.losses.AutoencoderLoss", "Loss": {"perceptual_weight": 0}}
    faces = "CelebA" in str(_section(config, "datasets").get("validation"))
    factors = _section(config, "CelebAFactors").get("attributes", ATTRIBUTES) if faces else ["digit", "colour"]
    config["evaluation"] = {"factor_sizes": {"factors": factors}}
    config["test_mode"] = True
    notes.mapped[f"iterator {DIM_EVALUATOR}"] = "evaluation/factor_sizes"


def _take_first_stage(config: Config) -> None:
    """Make the first stage the model of a config."""
    for key in ("model", "Transformer", "loss", "Loss"):
        config.pop(key, None)
    stage = config.pop("first_stage")
    config |= {key: stage[key] for key in ("model", "checkpoint") if key in stage} | (stage.get("subconfig") or {})


def _n_classes(config: Config, notes: Notes) -> None:
    """`n_classes` beside the `Model` of a classifier."""
    for where, part in {"": config, "first_stage/subconfig/": _section(config, "first_stage/subconfig")}.items():
        if "n_classes" in part:
            part["Model"] = {"n_classes": part.pop("n_classes")} | (part.get("Model") or {})
            notes.mapped[f"{where}n_classes"] = f"{where}Model/n_classes"


def _loss(config: Config, notes: Notes) -> None:
    """Losses of flows are part of the training tasks here, and so is the learning rate of the discriminator."""
    section = _section(config, "Loss")
    top = {"rho", "d_lr_factor"} & section.keys()
    config |= {key: section.pop(key) for key in sorted(top)}
    notes.mapped |= {f"Loss/{key}": key for key in sorted(top)}
    if "pixelloss" in section:
        section["pixel_loss"] = section.pop("pixelloss")
        notes.mapped["Loss/pixelloss"] = "Loss/pixel_loss"
    if config.get("loss") in BUILT_IN:
        notes.mapped[f"loss {config.pop('loss')}"] = "part of the iterator"
        config.pop("Loss", None)
        notes.unused += [f"Loss/{key}" for key in section]
    elif is_old(config.get("loss")):
        config["Loss"] = section
        _default(notes, section, "Loss/", "calibrate", False)


def _flow(config: Config, notes: Notes) -> None:
    """Defaults of the conditional flow."""
    flow = _section(config, "Transformer")
    if not flow or not renamed(str(config.get("model"))).endswith(".ConditionalTransformer"):
        return
    _default(notes, flow, "Transformer/", "activation", "lrelu")
    if flow.get("conditioning_spatial_size") != 1:  # a map: vectors are not halved
        _default(notes, flow, "Transformer/", "embedder_down", 4)


def _greybox(config: Config, notes: Notes) -> None:
    """A classifier within a class that splits it: the network, its weights, and the index of the layer."""
    section, inner = _section(config, "GreyboxModel"), _section(config, "GreyboxModel/subconfig")
    classes = [path for path in (section.get("model"), inner.get("model")) if path in GREYBOXES]
    if not classes:
        return
    arguments = _section(inner, "Model")
    present = {key: value for key, value in section.items() if key not in ("model", "subconfig")}
    if "pretrained_key" in inner:
        present["checkpoint"] = RELEASED + inner["pretrained_key"]
    else:
        present["model"] = f"torchvision:{arguments.get('type', GREYBOXES[classes[-1]])}"
        present["weights"] = "IMAGENET1K_V1" if arguments.get("pretrained", True) else None
    config["GreyboxModel"] = present
    notes.mapped[f"GreyboxModel {classes[-1]}"] = ", ".join(f"{key} {value}" for key, value in present.items())


def _autoencoder(config: Config, notes: Notes) -> None:
    section = _section(config, "AutoencoderModel")
    if "pretrained_ae_key" in section:
        checkpoint = RELEASED + section["pretrained_ae_key"]
        config["AutoencoderModel"] = {"checkpoint": checkpoint}
        notes.mapped["AutoencoderModel/pretrained_ae_key"] = f"AutoencoderModel/checkpoint {checkpoint}"


def _datasets(config: Config, notes: Notes) -> None:
    """Arguments of the data sets beside them, and the protocol of the published experiments."""
    beside = {
        "Folder": (".Folder", config.get("Folder") or {}),
        "size": ("", {"size": config.get("size")}),
        "CelebAFactors": (".FactorCelebA", {"factors": _section(config, "CelebAFactors").get("attributes")}),
    }
    datasets = _section(config, "datasets")
    for split, spec in datasets.items():
        given = dict(spec) if isinstance(spec, Mapping) else {"class": spec}
        path = str(given.get("class"))
        if not is_old(path):
            continue
        for key, (kind, arguments) in beside.items():
            if key in config and kind in path:
                given = {name: value for name, value in arguments.items() if value is not None} | given
                notes.mapped[key] = f"arguments of {', '.join(f'datasets/{split}' for split in datasets)}"
        for name, value in _protocol(path).items():
            _default(notes, given, f"datasets/{split}/", name, value)
        datasets[split] = given if len(given) > 1 else spec
    for key in beside.keys() & notes.mapped.keys():
        del config[key]


def _protocol(path: str) -> Config:
    """The arguments with which a data set is that of the published experiments."""
    if "CelebA" in path:
        return {"antialias": False}
    return {"other_class": False} if ".ColorfulMNIST" in path else {}


def _statistics(config: Config, notes: Notes) -> None:
    """A path of statistics may lack .npz; one from / is in the project's folder, unless there is such a file."""
    section = _section(config, "fid_stats")
    if isinstance(path := section.get("pre_calc_stat_path"), str):
        file = path if path.endswith(".npz") else f"{path}.npz"
        section["pre_calc_stat_path"] = file if Path(file).exists() else file.lstrip("/")
        if section["pre_calc_stat_path"] != path:
            notes.mapped[f"fid_stats/pre_calc_stat_path {path}"] = section["pre_calc_stat_path"]


def _evaluation(config: Config, notes: Notes) -> None:
    """Trainers drew pictures and, with a file of statistics, computed FID without being asked to."""
    iterator = config.get("iterator")
    if is_old(iterator) and not {iterator, _section(config, "first_stage").get("model")} & CLASSIFIERS:
        _default(notes, config, "", "evaluation", {"grid": {}})
    if "fid_stats" in config and "fid" not in _section(config, "evaluation"):
        _default(notes, config, "", "fid", {})


def _trainer(config: Config, notes: Notes) -> None:
    """Keys of the trainer of that time."""
    counterparts: dict[str, Config] = {
        "max_batches_per_epoch": {"limit_train_batches": config.get("max_batches_per_epoch")},
        "val_freq": {"val_check_interval": config.get("val_freq"), "check_val_every_n_epoch": None},
    }
    for key in counterparts.keys() & config.keys():
        config["trainer"] = counterparts[key] | (config.get("trainer") or {})
        notes.mapped[key] = ", ".join(f"trainer/{name}" for name in counterparts[key])
        del config[key]
    notes.unused += [key for key in UNUSED if config.pop(key, None) is not None]
    _default(notes, config, "", "log_freq", 1000)


RULES = (
    _pretrained,
    _dim_evaluator,
    _n_classes,
    _loss,
    _flow,
    _greybox,
    _autoencoder,
    _datasets,
    _statistics,
    _evaluation,
    _trainer,
)
