"""Tables of the report on conditional INNs, and how to read them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from invariances.evaluation.metrics.faithfulness.legend import LEGEND
from invariances.evaluation.report.others import is_measure

LADDER = (
    "layer",
    "class_agreement",
    "hue_agreement",
    "cosine",
    "cosine_random",
    "cosine_nearest",
    "cosine_autoencoder",
    "relative_l2",
    "diversity",
    "residual_variance",
    "spread_skill",
    "half_v_squared",
    "nll",
)
MOST_COLUMNS = 15  # of a table that a screen of 1280 pixels shows whole


@dataclass(frozen=True)
class Group:
    """A measure and the references it is compared with.

    Attributes:
        title: above the columns.
        text: how to read it.
        columns: head of a column -> name in `metrics.json`.
    """

    title: str
    text: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """A table of the report, one row for each layer.

    Attributes:
        title, lead: heading and introduction.
        groups: of its columns, from left to right.
        heads: how to read the columns that all groups have, by their heads.
    """

    title: str
    lead: str
    groups: tuple[Group, ...]
    heads: Mapping[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> list[list[Group]]:
        """The groups side by side, in as many tables as it takes for none to have more than `MOST_COLUMNS` columns.

        >>> wide = Group("cosine", "", dict.fromkeys("abcdefg", ""))
        >>> [len(table) for table in Section("", "", (wide, wide, wide)).tables]
        [2, 1]
        """
        tables: list[list[Group]] = []
        for group in self.groups:
            if not tables or sum(len(each.columns) for each in (*tables[-1], group)) > MOST_COLUMNS:
                tables.append([])
            tables[-1].append(group)
        return tables

    @property
    def names(self) -> set[str]:
        """All numbers in the table."""
        return {name for group in self.groups for name in group.columns.values()}

    def restricted_to(self, measured: Iterable[str]) -> "Section":
        """The table without the numbers that were not measured."""
        names = set(measured)
        groups = [
            replace(group, columns={head: name for head, name in group.columns.items() if name in names})
            for group in self.groups
        ]
        return replace(self, groups=tuple(group for group in groups if group.columns))


HEADS = {  # end of a name in `metrics.json` -> head of its column
    "autoencoder": "reconstruction",
    "nearest": "nearest",
    "negative": "nearest of another class",
    "random": "random",
    "mlp": "MLP",
    "mean": "mean code",
}


def compared(title: str, text: str, name: str) -> Group:
    """A measure of the samples, and the same measure of all references.

    >>> list(compared("cosine", "1: same direction.", "cosine").columns.values())[:3]
    ['cosine', 'cosine_autoencoder', 'cosine_nearest']
    """
    return Group(title, text, {"samples": name} | {head: f"{name}_{end}" for end, head in HEADS.items()})


SECTIONS = (
    Section(
        "What does the layer leave open?",
        "The variance that remains in the codes when the layer's response is given: as measured on held-out images, "
        "and as the flow claims. The two differ where the flow is not calibrated.",
        (
            Group(
                "variance of the codes",
                f"{LEGEND['residual_variance']} {LEGEND['variance_explained_by_v']} "
                f"MLP: {LEGEND['residual_variance_mlp']}",
                {
                    "measured": "residual_variance",
                    "MLP": "residual_variance_mlp",
                    "the flow's claim: explained by v": "variance_explained_by_v",
                },
            ),
            Group("variance of the pixels", LEGEND["diversity"], {"diversity": "diversity"}),
            Group(
                "distance",
                LEGEND["pairwise_distance"],
                {"of samples": "pairwise_distance"},
            ),
            Group(
                "rotation of hues",
                LEGEND["hue_distance"],
                {"of samples": "hue_distance", "chance": "hue_distance_random"},
            ),
        ),
    ),
    Section(
        "Is the flow calibrated?",
        "For an exact flow, the code of a held-out image is like one more sample. Each measure finds other faults.",
        (
            Group("spread / error", LEGEND["spread_skill"], {"exact: 1": "spread_skill"}),
            Group("½v² per dimension", LEGEND["half_v_squared"], {"exact: 0.5": "half_v_squared"}),
            Group("χ²/df of ranks", LEGEND["rank_chi2"], {"exact: 1": "rank_chi2"}),
            Group("energy skill", LEGEND["energy_skill"], {"ignores the layer: 0": "energy_skill"}),
            Group("C2ST", LEGEND["c2st"], {"exact: 0.5": "c2st"}),
        ),
    ),
    Section(
        "Is v independent of the layer?",
        "The flow maps each code to invariances v. They should hold everything that the layer does not determine, and "
        "nothing that it does.",
        (
            Group(
                "class read from",
                LEGEND["probe_accuracy"],
                {
                    "v": "probe_accuracy",
                    "v, non-linear": "probe_accuracy_nonlinear",
                    "code": "probe_accuracy_code",
                    "chance": "probe_chance",
                },
            ),
            Group(
                "nats",
                "Negative log-likelihood of the codes given the layer, and that of a Gaussian that ignores the layer: "
                "the difference is what the flow has learned from the response.",
                {"flow": "nll", "Gaussian": "nll_gaussian"},
            ),
        ),
    ),
    Section(
        "Do the samples keep class and colour?",
        "A network can agree with itself on any image if it predicts few classes, so chance is the agreement with "
        "another image at random.",
        (
            compared("class agreement", "As above.", "class_agreement"),
            compared("class among the first five", LEGEND["class_agreement_top5"], "class_agreement_top5"),
            compared("hue agreement", "As above.", "hue_agreement"),
        ),
    ),
    Section(
        "Is the layer's response to a sample that to its input?",
        "Each sample is passed through the network again. If the layer does not distinguish it from its input, the "
        "response to it is closer to the response to the input than to those to other images.",
        (
            compared("cosine", "As above.", "cosine"),
            compared("Pearson", LEGEND["pearson"], "pearson"),
            compared("Spearman", LEGEND["spearman"], "spearman"),
        ),
    ),
    Section(
        "Is the input nearest to its samples?",
        "",
        (
            compared("relative L2", "As above.", "relative_l2"),
            compared("rank of the input", LEGEND["retrieval_rank"], "retrieval_rank"),
            compared("reciprocal rank", LEGEND["retrieval_mrr"], "retrieval_mrr"),
        ),
    ),
    Section(
        "Does it take a flow?",
        "Two baselines return one image for each response: a network that was trained with the flow to predict the "
        "code (MLP), and the mean of all codes. Agreement is easy without variety, and variety without agreement.",
        (
            compared("diversity", "As above. One image for each response has none.", "diversity"),
            compared("class agreement × diversity", LEGEND["agreement_times_diversity"], "agreement_times_diversity"),
        ),
    ),
)


def further(measured: Iterable[str]) -> Section:
    """The table of measures whose names depend on the config: scores of sets of images, and named factors."""
    names = list(measured)
    scores = [n for n in names if n.startswith(("fid_", "kid_", "precision_", "recall_")) and is_measure(n)]
    return Section(
        "Factors and sets of images",
        "",
        (
            Group(
                "residual variance of factors, measured",
                LEGEND["factor_*_residual"],
                _factors(names, "_residual"),
            ),
            Group(
                "factors known to the layer, the flow's claim",
                LEGEND["factor_*_explained_by_z"],
                _factors(names, "_explained_by_z"),
            ),
            Group(
                "samples as a set",
                "Distance between the samples and the real images, each taken as one set (FID, KID; 0: no difference), "
                "and the share of one set that lies within the other (precision, recall). Scores compare only for the "
                "same features, which their names tell.",
                {n.replace("_", " ", 1): n for n in scores},
            ),
        ),
    )


def _factors(names: Iterable[str], end: str) -> dict[str, str]:
    """Name of a factor -> name of its number with this end.

    >>> _factors(["factor_digit_residual", "factor_digit_residual_ci", "cosine"], "_residual")
    {'digit': 'factor_digit_residual'}
    """
    found = [name for name in names if name.startswith("factor_") and name.endswith(end)]
    return {name.removeprefix("factor_").removesuffix(end): name for name in found}
