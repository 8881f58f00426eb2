"""Whether the samples at a layer can be trusted: one line from the calibration of the flow."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

Metrics = Mapping[str, float | None]

THRESHOLDS = {  # value, and why it is this one
    "spread_min": (0.95, "an exact flow has 1.00 ± .02 on 300 images; below, samples lack 10 % of the variance"),
    "spread_max": (1.05, "as for spread_min; above, samples have 10 % too much variance"),
    "spread_explains_c2st": (1.2, "from here on the spread alone lets a classifier tell samples from codes"),
    "half_v_squared_max": (0.6, "0.5 for N(0, 1); above, v of held-out images is 10 % longer than that of samples"),
    "c2st_max": (0.58, "0.5 for an exact flow, with a standard deviation of .02 on 300 images"),
    "residual_over_mlp_max": (1.2, "the mean of an exact flow is the best prediction of the code that there is"),
    "rank_chi2_max": (2.0, "1 for an exact flow; one dimension has a standard deviation of .5, the mean of many less"),
    "energy_skill_min": (0.02, "0 for a flow that ignores the layer, with a standard deviation of .003 on 300 images"),
    "residual_variance_max": (0.98, "1 where the flow's mean does not depend on the layer"),
}


@dataclass(frozen=True)
class Assessment:
    """What the calibration of a flow says about its samples, and how like their input they are to the layer.

    Attributes:
        findings: what is wrong, in the order of importance; empty if the samples can be trusted.
        measured: whether calibration was measured at all.
        likeness: of the samples to their input, compared with its reconstruction; empty if it was not measured.
    """

    findings: tuple[str, ...]
    measured: bool = True
    likeness: str = ""

    @property
    def trusted(self) -> bool:
        """Whether calibration was measured and nothing is wrong."""
        return self.measured and not self.findings

    @property
    def text(self) -> str:
        """The line.

        >>> Assessment(()).text
        'trust: the flow is calibrated, as far as these images tell'
        """
        if not self.measured:
            return "not assessed: calibration was not measured"
        verdicts = self.findings or ("trust: the flow is calibrated, as far as these images tell",)
        return "; ".join((*verdicts, self.likeness) if self.likeness else verdicts)


def assess(metrics: Metrics) -> Assessment:
    """Compare the calibration in `metrics.json` with `THRESHOLDS`; what its interval leaves open is no finding.

    >>> numbers = {"spread_skill": 0.8, "residual_variance": 0.27, "variance_explained_by_v": 0.17, "c2st": 0.7}
    >>> assess(numbers).text
    'over-confident: read the variance of the codes as at most 0.270 (the flow claims 0.170)'
    >>> assess({"spread_skill": 0.8, "spread_skill_ci": 0.3}).trusted
    True
    """
    if metrics.get("spread_skill") is None:
        return Assessment((), measured=False)
    found = (_ignores(metrics), _spread(metrics), _uses_part(metrics), _predicts_badly(metrics))
    findings = tuple(filter(None, found)) or tuple(filter(None, (_dimensions(metrics),)))
    if farther := _farther(metrics):
        return Assessment((*findings, farther) if findings else (f"the flow is calibrated, but {farther}",))
    return Assessment(findings, likeness=_likeness(metrics))


def _above(metrics: Metrics, name: str, threshold: str, exact: float) -> bool:
    """Whether a number is above its threshold, and the lower end of its interval above the value of an exact flow."""
    value = metrics.get(name)
    return value is not None and value > THRESHOLDS[threshold][0] and value - (metrics.get(f"{name}_ci") or 0) > exact


def _below(metrics: Metrics, name: str, threshold: str, exact: float) -> bool:
    """Whether a number is below its threshold, and the upper end of its interval below the value of an exact flow."""
    value = metrics.get(name)
    return value is not None and value < THRESHOLDS[threshold][0] and value + (metrics.get(f"{name}_ci") or 0) < exact


def _ignores(metrics: Metrics) -> str:
    skill, residual = metrics.get("energy_skill"), metrics.get("residual_variance")
    if skill is None or residual is None or skill > THRESHOLDS["energy_skill_min"][0]:
        return ""
    if residual < THRESHOLDS["residual_variance_max"][0]:
        return ""
    if _above(metrics, "c2st", "c2st_max", 0.5):
        return f"ignores the layer: samples are as if it told nothing, but it does ({_c2st(metrics)})"
    return "the layer tells nothing about the code that the flow or a classifier finds"


def _spread(metrics: Metrics) -> str:
    claim = f"(the flow claims {_number(metrics, 'variance_explained_by_v')})"
    bound = f"read the variance of the codes as at most {_least_error(metrics)} {claim}"
    if _below(metrics, "spread_skill", "spread_min", 1.0):
        return f"over-confident: {bound}"
    if _above(metrics, "spread_skill", "spread_max", 1.0):
        return f"over-dispersed: {bound}"
    if _above(metrics, "half_v_squared", "half_v_squared_max", 0.5):
        half = _number(metrics, "half_v_squared")
        return f"over-confident where the variance is small: ½v² of held-out images is {half}, not 0.5"
    return ""


def _least_error(metrics: Metrics) -> str:
    """The smaller error of flow and MLP: no prediction from the layer errs by less than what the layer leaves open."""
    names = ("residual_variance", "residual_variance_mlp")
    return _number(metrics, min(names, key=lambda name: math.inf if (v := metrics.get(name)) is None else v))


def _uses_part(metrics: Metrics) -> str:
    if not _above(metrics, "c2st", "c2st_max", 0.5) or _ignores(metrics):
        return ""
    spread = metrics.get("spread_skill") or 0
    if THRESHOLDS["spread_min"][0] <= spread <= THRESHOLDS["spread_explains_c2st"][0]:
        return f"does not use all of the layer ({_c2st(metrics)})"
    return ""


def _predicts_badly(metrics: Metrics) -> str:
    """Whether another network predicts the code better than the flow does, beyond the intervals of both."""
    own, other = metrics.get("residual_variance"), metrics.get("residual_variance_mlp")
    if own is None or other is None or own < THRESHOLDS["residual_over_mlp_max"][0] * other:
        return ""
    widths = [metrics.get(f"{name}_ci") or 0 for name in ("residual_variance", "residual_variance_mlp")]
    if own - widths[0] < other + widths[1]:
        return ""
    return f"misses what the layer tells: read the variance of the codes as at most {other:.3f}, the error of an MLP"


def _farther(metrics: Metrics) -> str:
    """Whether samples are less like their input to the layer than its nearest other image is."""
    if not _less(metrics, "cosine", "cosine_nearest"):
        return ""
    values = f"cosine {_number(metrics, 'cosine')}, {_number(metrics, 'cosine_nearest')}"
    if _less(metrics, "cosine_autoencoder", "cosine_nearest"):
        values += f"; nor is the reconstruction as like it, {_number(metrics, 'cosine_autoencoder')}"
    return f"to the layer, samples are less like their input than the nearest other image is ({values})"


def _likeness(metrics: Metrics) -> str:
    if metrics.get("cosine") is None or metrics.get("cosine_autoencoder") is None:
        return ""
    how = "less like their input than" if _less(metrics, "cosine", "cosine_autoencoder") else "as like their input as"
    values = f"cosine {_number(metrics, 'cosine')}, {_number(metrics, 'cosine_autoencoder')}"
    return f"to the layer, samples are {how} its reconstruction is ({values})"


def _less(metrics: Metrics, one: str, other: str) -> bool:
    return difference(metrics, other, metrics, one) > 0


def difference(first: Metrics, one: str, second: Metrics, other: str) -> float:
    """How far a number is above another one; 0 where their 95 % intervals leave it to chance, or one is missing.

    >>> numbers = {"a": 0.5, "a_ci": 0.03, "b": 0.54, "b_ci": 0.04, "c": 0.75}
    >>> [difference(numbers, one, numbers, other) for one, other in ("ba", "ca", "ac")]
    [0.0, 0.25, -0.25]
    """
    value, reference = first.get(one), second.get(other)
    if value is None or reference is None:
        return 0.0
    chance = math.hypot(first.get(f"{one}_ci") or 0, second.get(f"{other}_ci") or 0)
    return value - reference if abs(value - reference) > chance else 0.0


def _dimensions(metrics: Metrics) -> str:
    if _above(metrics, "rank_chi2", "rank_chi2_max", 1.0):
        ranks = _number(metrics, "rank_chi2")
        return f"calibrated in total, but not in each dimension of the code (χ²/df of the ranks is {ranks}, not 1)"
    return ""


def _c2st(metrics: Metrics) -> str:
    return f"C2ST {_number(metrics, 'c2st')}, not 0.5"


def _number(metrics: Metrics, name: str) -> str:
    value = metrics.get(name)
    return "?" if value is None else f"{value:.3f}"
