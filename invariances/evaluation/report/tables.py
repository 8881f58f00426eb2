"""Tables of the report on conditional INNs, and how to read them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from invariances.evaluation.metrics.faithfulness.legend import LEGEND

LADDER = (
    "layer",
    "nll",
    "class_agreement",
    "hue_agreement",
    "cosine",
    "cosine_random",
    "cosine_nearest",
    "cosine_autoencoder",
    "relative_l2",
    "diversity",
)

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
    """

    title: str
    lead: str
    groups: tuple[Group, ...]

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


def compared(title: str, text: str, name: str, *references: str) -> Group:
    """A measure of the samples, and the same measure of references."""
    others = {HEADS[reference]: f"{name}_{reference}" for reference in references}
    return Group(title, text, {"samples": name, **others})


HEADS = {
    "autoencoder": "decoded",
    "random": "random",
    "mlp": "MLP",
    "mean": "mean code",
}

SECTIONS = (
    Section(
        "Do the samples stay with their input?",
        "Each sample is passed through the network again. If the layer does not distinguish it from its input, the "
        "response to it is closer to the response to the input than to those to other images.",
        (
            compared(
                "rank of the input",
                LEGEND["retrieval_rank"],
                "retrieval_rank",
                "autoencoder",
                "random",
            ),
            compared(
                "reciprocal rank",
                LEGEND["retrieval_mrr"],
                "retrieval_mrr",
                "autoencoder",
                "random",
            ),
            compared(
                "class among the first five",
                LEGEND["class_agreement_top5"],
                "class_agreement_top5",
                "random",
            ),
            compared(
                "Pearson",
                LEGEND["pearson"],
                "pearson",
                "random",
            ),
            compared(
                "Spearman",
                LEGEND["spearman"],
                "spearman",
                "random",
            ),
        ),
    ),
    Section(
        "What does the layer leave open, and is v independent of it?",
        "The flow maps each code to invariances v. They should hold everything that the layer does not determine, and "
        "nothing that it does.",
        (
            Group(
                "variance",
                LEGEND["variance_explained_by_v"],
                {"explained by v": "variance_explained_by_v"},
            ),
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
            Group(
                "class read from",
                LEGEND["probe_accuracy"],
                {"v": "probe_accuracy", "code": "probe_accuracy_code", "chance": "probe_chance"},
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
        "Does it take a flow?",
        "Two baselines return one image for each response: a network that was trained with the flow to predict the "
        "code (MLP), and the mean of all codes. Agreement is easy without variety, and variety without agreement.",
        (
            compared("class agreement", "As above.", "class_agreement", "mlp", "mean"),
            compared("cosine", "As above.", "cosine", "mlp", "mean"),
            compared("diversity", "As above. One image for each response has none.", "diversity", "mlp", "mean"),
            compared(
                "class agreement × diversity",
                LEGEND["agreement_times_diversity"],
                "agreement_times_diversity",
                "mlp",
                "mean",
            ),
        ),
    ),
)


def further(measured: Iterable[str]) -> Section:
    """The table of measures whose names depend on the config: scores of sets of images, and named factors."""
    names = list(measured)
    factors = [n for n in names if n.startswith("factor_") and n.endswith("_explained_by_z")]
    scores = [n for n in names if n.startswith(("fid_", "kid_", "precision_", "recall_")) and not n.endswith("_ci")]
    return Section(
        "Factors and sets of images",
        "",
        (
            Group(
                "factors known to the layer",
                LEGEND["factor_*_explained_by_z"],
                {n.removeprefix("factor_").removesuffix("_explained_by_z"): n for n in factors},
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
