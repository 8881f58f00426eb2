"""What the report shows of a conditional INN, and how to read it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

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

LEGEND = {
    "class_agreement": "Part of the samples that the network gives the class it gives their input. "
    "1: the class is kept.",
    "hue_agreement": "Cosine of the angle between the colour of a sample and that of its input. "
    "1: the colour is kept; 0: it is drawn anew, so the layer has forgotten it.",
    "cosine": "Similarity between the layer's responses to a sample and to its input. They should be the same, so high "
    "is right. The references tell what is high: the autoencoder's reconstruction of the input (the best a sample can "
    "do), the most similar other real image (nearest), and any other image (random).",
    "relative_l2": "Distance between the layer's responses to a sample and to its input, over the length of the "
    "response. 0: equal.",
    "diversity": "How much the samples of one input vary, over how much the data vary. "
    "0: all are the same; 1: as varied as the data.",
    "nll": "Negative log-likelihood of the held-out codes given the layer, in nats, without its constant. "
    "The higher, the less the layer tells about the image.",
}


@dataclass(frozen=True)
class Group:
    """A measure, with what it is compared with.

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
        title, lead: what it is about.
        groups: of its columns, from left to right.
    """

    title: str
    lead: str
    groups: tuple[Group, ...]

    def of(self, measured: Iterable[str]) -> "Section":
        """The part that has been measured."""
        names = set(measured)
        groups = [
            replace(group, columns={head: name for head, name in group.columns.items() if name in names})
            for group in self.groups
        ]
        return replace(self, groups=tuple(group for group in groups if group.columns))


def compared(title: str, text: str, name: str, *references: str) -> Group:
    """A measure of the samples beside the same of references."""
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
        "Each sample is passed through the network again. If the layer takes it for its input, its response lies near "
        "that to the input, among those to all other images.",
        (
            compared(
                "rank of the input",
                "Real images are sorted by how close their response is to that of a sample; this is the place of the "
                "sample's own input, 1 being the first. Where a layer knows little, many images are equally close.",
                "retrieval_rank",
                "autoencoder",
                "random",
            ),
            compared(
                "reciprocal rank",
                "Mean of 1 / rank: 1 if the input always comes first, near 0 if its place is left to chance.",
                "retrieval_mrr",
                "autoencoder",
                "random",
            ),
            compared(
                "class among the first five",
                "Part of the samples for which the input's class is among the five that the network finds most likely.",
                "class_agreement_top5",
                "random",
            ),
            compared(
                "Pearson",
                "Linear correlation between the responses to a sample and to its input.",
                "pearson",
                "random",
            ),
            compared(
                "Spearman",
                "The same of the ranks of the responses, which large single values cannot rule.",
                "spearman",
                "random",
            ),
        ),
    ),
    Section(
        "What is left open, and is all of it open?",
        "The flow turns each code into invariances v. They should hold what the layer does not say, and none of what "
        "it says.",
        (
            Group(
                "variance",
                "Part of the variance of the codes that remains when the layer's response is given. It rises as layers "
                "drop more. What the first layers leave open is what autoencoder and flow cannot tell.",
                {"explained by v": "variance_explained_by_v"},
            ),
            Group(
                "distance",
                "Distance between two samples of one input, over that between two images.",
                {"of samples": "pairwise_distance"},
            ),
            Group(
                "turn of hues",
                "How far the hues of all samples together have to be turned, in radians on average, until they are "
                "distributed as those of the images; chance: the same between two halves of the images. As small as "
                "chance: no colour is missing.",
                {"of samples": "hue_distance", "chance": "hue_distance_random"},
            ),
            Group(
                "class read from",
                "How often a linear probe names the class of an image it has not seen, from its v, and from its code. "
                "On v it should do no better than chance, which is always to name the most frequent class.",
                {"v": "probe_accuracy", "code": "probe_accuracy_code", "chance": "probe_chance"},
            ),
            Group(
                "nats",
                "Negative log-likelihood of the codes given the layer, and that of a Gaussian that knows nothing: the "
                "difference is what the flow has made of the response.",
                {"flow": "nll", "Gaussian": "nll_gaussian"},
            ),
        ),
    ),
    Section(
        "Does it take a flow?",
        "Two plain rivals give one image for each response: a network that was trained beside the flow to predict the "
        "code (MLP), and the mean of all codes. Agreement is easy without variety, and variety without agreement.",
        (
            compared("class agreement", "As above.", "class_agreement", "mlp", "mean"),
            compared("cosine", "As above.", "cosine", "mlp", "mean"),
            compared("diversity", "As above. One image for each response has none.", "diversity", "mlp", "mean"),
            compared(
                "class agreement × diversity",
                "High only where samples vary and keep their class. Early layers leave little to vary, so there it is "
                "low for all.",
                "agreement_times_diversity",
                "mlp",
                "mean",
            ),
        ),
    ),
)


def further(measured: Iterable[str]) -> Section:
    """What is measured under names that are not known before: scores of sets of images, and named factors."""
    names = list(measured)
    factors = [n for n in names if n.startswith("factor_") and n.endswith("_explained_by_z")]
    scores = [n for n in names if n.startswith(("fid_", "kid_", "precision_", "recall_")) and not n.endswith("_ci")]
    return Section(
        "Factors and sets of images",
        "",
        (
            Group(
                "factors known to the layer",
                "Part of the variance of a factor that is gone when the layer's response is given. 1: the layer knows "
                "it; 0: the layer knows nothing of it.",
                {n.removeprefix("factor_").removesuffix("_explained_by_z"): n for n in factors},
            ),
            Group(
                "samples as a set",
                "Distance between the samples and the real images, each taken as one set (FID, KID; 0: no difference), "
                "and the part of one set that lies within the other (precision, recall). Scores compare only for the "
                "same features, which their names tell.",
                {n.replace("_", " ", 1): n for n in scores},
            ),
        ),
    )
