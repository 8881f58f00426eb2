"""What the user asks of a study."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invariances.errors import UserError

STUDIES = Path("studies")
QUALITIES = ("draft", "good", "best")
UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Request:
    """The command line of a study, or the arguments of `invariances.study`.

    Attributes:
        model: as `invariances layers` takes it; a class of the user's also as module:Class.
        data: a folder of pictures, a folder of class folders, or a dotted data set.
        weights: a file, or the name of a library's weights.
        preprocess: settings of `Preprocess`, YAML; by default found by the network's accuracy.
        layers: names; by default chosen.
        n_layers: how many are chosen.
        size: side of the images in pixels.
        autoencoder: latest:X, a path or zoo:NAME; trained by default.
        quality: draft, good or best; by default what the budget allows, or draft.
        budget: seconds for all of it.
        name: of the study.
        n_seeds: trainings of each flow.
        n_jobs: trainings at a time.
    """

    model: str
    data: str
    weights: str | None = None
    preprocess: str | None = None
    layers: tuple[str, ...] | None = None
    n_layers: int = 5
    size: int | None = None
    autoencoder: str | None = None
    quality: str | None = None
    budget: float | None = None
    name: str | None = None
    n_seeds: int = 1
    n_jobs: int | None = None

    def __post_init__(self) -> None:
        for flag, value in {"--n_layers": self.n_layers, "--seeds": self.n_seeds, "--jobs": self.n_jobs}.items():
            if value is not None and value < 1:
                raise UserError(f"{flag} {value}: expected 1 or more")
        if self.name is not None and self.name != (usable := file_name(self.name)):
            expected = "expected the name of a folder, of letters, digits and any of . _ + = -"
            raise UserError(f"--name {self.name}: {expected}, such as --name {usable}, which is studies/{usable}")
        if self.quality is not None and self.quality not in QUALITIES:
            raise UserError(f"--quality {self.quality}: expected one of {', '.join(QUALITIES)}")
        if self.quality is not None and self.budget is not None:
            raise UserError("--quality and --budget: leave out one of them; a budget chooses the quality")

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        return STUDIES / (self.name or self._default_name())

    def _default_name(self) -> str:
        model = self.model.rstrip("/").replace("\\", "/").rpartition("/")[2].removesuffix(".ckpt")
        model = re.split(r"[:.]", model)[-1] if not model.startswith("{") else model
        data = re.split(r"[/.]", self.data.rstrip("/"))[-1] or "images"
        return file_name(f"{model}_{data}")

    def stored(self) -> dict[str, Any]:
        """As plain values, for `study.yaml`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Request":
        """The request of a `study.yaml`."""
        layers = stored.get("layers")
        return cls(**{**stored, "layers": None if layers is None else tuple(layers)})


def file_name(text: str) -> str:
    """The characters of a text that are safe in the name of a folder.

    >>> file_name("timm:tf_efficientnet_lite0 / cats")
    'timm-tf_efficientnet_lite0-cats'
    """
    return re.sub(r"[^A-Za-z0-9_.+=-]+", "-", text).strip(".-")[:80] or "study"


def seconds(text: str) -> float:
    """A duration such as 90s, 15m or 2h in seconds.

    Raises:
        UserError: it is none.

    >>> seconds("15m"), seconds("1.5h")
    (900.0, 5400.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])(?:in)?", text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise UserError(f"--budget {text}: expected a duration such as 90s, 15m or 2h")
    return float(match[1]) * UNITS[match[2]]


def duration(time: float) -> str:
    """Seconds in words.

    >>> duration(42.0), duration(700.0), duration(8000.0)
    ('42 s', '12 min', '2 h 13 min')
    """
    if time < 90:
        return f"{time:.0f} s"
    minutes = round(time / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
