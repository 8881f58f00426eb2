"""What to tell about a study, in words, with one table of thresholds and their reasons."""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invariances.evaluation.report.assessment import assess
from invariances.evaluation.report.attribute_map import MIN_CEILING, attribute_names
from invariances.studies.inputs.network_given import GivenNetwork
from invariances.studies.inputs.pictures_given import GivenImages

THRESHOLDS: dict[str, tuple[float | int, str]] = {
    "few_images": (500, "800 photographs were learnt by heart to .4 nats per dimension within six passes"),
    "few_held_out": (50, "half of the 95 % interval of a share is .14 with 50 images"),
    "small_side": (28, "below 28 px there is little for layers to keep or to drop"),
    "accuracy_over_chance": (2.0, "a network that is right less than twice as often as the most frequent class alone"),
    "accuracy_low": (0.5, "networks reach far more on images like those of their training"),
    "collapsed": (0.85, "error over that of the mean image: .98 was seen of a collapsed one, .46 of a good one"),
    "ignored_code": (0.9, "error over that of another image's reconstruction; 1: the code does not matter"),
    "ceiling_class": (0.5, "share of reconstructions that keep the class; below, most numbers tell of the autoencoder"),
    "ceiling_response": (0.3, "by how much reconstructions look to the layer more like their input than other images"),
    "overfit": (0.15, "nats per dimension; digits learnt by heart had .22, and ½v² of held-out images near 1"),
}


PIXELS = "in the mean over the pixels, which go from -1 to 1"


def threshold(name: str) -> float:
    """A value of the table."""
    return float(THRESHOLDS[name][0])


@dataclass(frozen=True)
class Finding:
    """One thing to tell.

    Attributes:
        level: "good", "caution", or "stop", with which the study cannot go on.
        text: a sentence or two.
        about: name of the training or layer that it is about; empty for the whole study.
    """

    level: str
    text: str
    about: str = ""

    @property
    def sign(self) -> str:
        """The level as a word in front of the text."""
        return {"good": "ok", "caution": "caution", "stop": "stop"}[self.level]


def check_images(images: GivenImages) -> Iterator[Finding]:
    """Are there enough images, and large ones?"""
    if images.n_train < threshold("few_images"):
        yield Finding(
            "caution",
            f"{images.n_train} images to learn from are few: flows will learn them by heart, and autoencoders blur; "
            f"{threshold('few_images'):.0f} or more are better",
        )
    if images.n_validation < threshold("few_held_out"):
        yield Finding("caution", f"{images.n_validation} held-out images: every number has a wide interval")
    if min(images.shape[1:]) < threshold("small_side"):
        sides = " × ".join(map(str, images.shape[1:]))
        yield Finding("caution", f"pictures of {sides} px are small; layers may keep other things of larger ones")
    if images.classes == 1:
        yield Finding("caution", "all images are of one class: what layers keep of classes cannot be told")


def check_network(network: GivenNetwork, model: str) -> Iterator[Finding]:
    """Is the network as good on these images as it should be?"""
    if network.is_random:
        yield Finding("caution", f"{model} has random weights: --weights names trained ones")
    found = network.accuracy
    if found is None:
        why = "images without labels, no list of classes, or too few images to match the network's classes with theirs"
        yield Finding("caution", f"the network's accuracy is not known: {why}")
        if network.is_guessed and not network.is_random:
            yield Finding(
                "caution",
                "how the network's images are normalised is a guess that no accuracy confirms; if it is wrong, so are "
                "all results: state mean and std of its training in [0, 1], as --preprocess '{mean: .286, std: .353}'",
            )
        return
    low = found.value < threshold("accuracy_low") or found.value < threshold("accuracy_over_chance") * found.chance
    if low and not network.is_random:
        yield Finding(
            "caution",
            f"the network is right on {found.value:.0%} of {found.n_images} held-out images ({found.chance:.0%} by "
            "chance): are preprocessing (--preprocess) and order of the classes those of its training?",
        )


def check_autoencoder(metrics: Mapping[str, float | None]) -> Iterator[Finding]:
    """Has the autoencoder learnt anything? A "stop" means that it has not."""
    error, mean = metrics.get("reconstruction_error"), metrics.get("reconstruction_error_mean_image")
    other = metrics.get("reconstruction_error_other")
    if error is None or mean is None or other is None:
        yield Finding("stop", "the autoencoder's reconstructions could not be measured", "autoencoder")
    elif error > threshold("collapsed") * mean:
        yield Finding(
            "stop",
            f"the autoencoder has collapsed: its reconstructions differ from their images by {error:.3f} {PIXELS}, the "
            f"mean of all images by {mean:.3f}",
            "autoencoder",
        )
    elif error > threshold("ignored_code") * other:
        yield Finding(
            "stop",
            f"the autoencoder ignores its code: reconstructions of other images are as near ({other:.3f}; own "
            f"{error:.3f})",
            "autoencoder",
        )
    else:
        yield Finding(
            "good",
            f"the autoencoder's reconstructions differ from their images by {error:.3f} {PIXELS}; the mean of all "
            f"images by {mean:.3f}",
            "autoencoder",
        )


def check_layer(facts: Mapping[str, Any], train_loss: float | None, z_dim: int) -> Iterator[Finding]:
    """Can the numbers of a layer be trusted?

    Args:
        facts: its `metrics.json`.
        train_loss: of the last part of the training.
        z_dim: dimensions of the codes.
    """
    layer, metrics = str(facts.get("layer")), facts["metrics"]
    for name, reason in facts.get("missing", {}).items():
        yield Finding("caution", f"evaluation {name} is missing: {reason}", layer)
    yield from _ceiling(metrics, layer)
    held_out = metrics.get("validation/loss")
    if train_loss is not None and held_out is not None and (held_out - train_loss) / z_dim > threshold("overfit"):
        gap = (held_out - train_loss) / z_dim
        yield Finding(
            "caution",
            f"the flow has learnt its images by heart: {gap:.2f} nats per dimension between training and held-out "
            "images; more images or a shorter training help",
            layer,
        )
    found = assess(metrics)
    yield Finding("good" if found.trusted else "caution", f"{found.text[0].upper()}{found.text[1:]}", layer)


def _ceiling(metrics: Mapping[str, float | None], layer: str) -> Iterator[Finding]:
    """What reconstructions themselves keep for this layer."""
    kept = metrics.get("class_agreement_autoencoder")
    if kept is not None and kept < threshold("ceiling_class"):
        yield Finding(
            "caution",
            f"only {kept:.0%} of the reconstructions keep the class: a sample of another class may be the "
            "autoencoder's fault",
            layer,
        )
    same, other = metrics.get("cosine_autoencoder"), metrics.get("cosine_random")
    if same is not None and other is not None and other < 1:
        share = (same - other) / (1 - other)
        if share < threshold("ceiling_response"):
            yield Finding(
                "caution",
                "reconstructions look to this layer hardly more like their input than other images do (cosine "
                f"{same:.2f}; other images {other:.2f}): the pictures tell little about it",
                layer,
            )
    ceilings = {name: metrics.get(f"attribute_{name}_autoencoder") for name in attribute_names(metrics)}
    lost = [name for name, value in ceilings.items() if value is not None and value < MIN_CEILING]
    if ceilings and len(lost) > len(ceilings) / 2:
        yield Finding("caution", f"the autoencoder loses most attributes ({', '.join(lost)})", layer)


def last_losses(table: Path, share: float = 0.1) -> float | None:
    """The mean training loss in the last rows of `metrics.csv`; None if there is none."""
    if not table.exists():
        return None
    with table.open(newline="", encoding="utf-8") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    last = [loss for loss in losses[-max(1, math.ceil(share * len(losses))) :] if math.isfinite(loss)]
    return sum(last) / len(last) if last else None
