"""Sizes and lengths of the trainings of a study, and why they are these."""

from dataclasses import dataclass, replace

SIDES = (16, 28, 32, 64, 128, 256)  # of the study's images, for which autoencoders are known to train
N_DOWN = {16: 2, 28: 2, 32: 3, 64: 4, 128: 5, 256: 6}  # halvings of the grid, to 4 × 4 or 7 × 7
SMALL = 32  # side up to which a rate of 1e-3 trains autoencoders; photographs of more pixels collapse to grey with it
RATES = {"small": 1.0e-3, "large": 2.0e-4}
RESTART = 4  # a collapsed autoencoder is trained once more with a rate lower by this factor
# Passes over photographs, images above `SMALL`, in the training of a flow: of 803 at 64 px, it knew held-out ones best
# after 4 to 6 (26 to 29 nats), and after 31 had learnt its own by heart (146 nats; untrained: 37).
MOST_PASSES, LEAST_STEPS = 6, 100
DECAY_EPOCHS = 30  # passes over the images after which a flow needs the whole weight decay


@dataclass(frozen=True)
class Quality:
    """How much work goes into a study.

    Attributes:
        name: draft, good or best.
        largest_side: of the images, in pixels.
        autoencoder_steps, flow_steps: lengths of the trainings.
        width: channels of the autoencoder at the finest scale.
        mid_channels, n_flows: of the conditional flow.
        n_images: most training images.
        n_judged: held-out images for the numbers.
        batch_size: of the trainings.
    """

    name: str
    largest_side: int
    autoencoder_steps: int
    flow_steps: int
    width: int
    mid_channels: int
    n_flows: int
    n_images: int
    n_judged: int
    batch_size: int = 50

    def scaled(self, factor: float) -> "Quality":
        """The same with trainings longer or shorter by a factor, in steps of a hundred.

        >>> DRAFT.scaled(0.5).flow_steps
        600
        """
        first, second = (max(100, round(n * factor, -2)) for n in (self.autoencoder_steps, self.flow_steps))
        return replace(self, autoencoder_steps=int(first), flow_steps=int(second))


DRAFT = Quality("draft", 64, 1600, 1200, 32, 128, 8, 10_000, 300)
GOOD = Quality("good", 64, 6000, 5000, 64, 256, 12, 50_000, 1000)
BEST = Quality("best", 128, 30_000, 25_000, 64, 512, 16, 1_000_000, 1000)
LEVELS = {level.name: level for level in (DRAFT, GOOD, BEST)}
SHORTEST, LONGEST = 0.25, 4.0  # factors of the lengths that a budget may choose


def usable_side(side: int, network_side: int, largest: int) -> int:
    """Side of the study's images: of `SIDES` the largest that neither pictures, network nor quality exceed.

    >>> usable_side(28, 28, 64), usable_side(500, 224, 64), usable_side(10, 32, 64), usable_side(32, 28, 64)
    (28, 64, 16, 28)
    """
    most = min(max(side, SIDES[0]), max(network_side, SIDES[0]), largest)
    return max(known for known in SIDES if known <= most)


def code_size(side: int, channels: int) -> int:
    """Channels of the autoencoder's code.

    >>> code_size(28, 1), code_size(64, 3)
    (32, 64)
    """
    return 128 if side > 64 else 64 if side > SMALL or channels > 1 else 32


def learning_rate(side: int) -> float:
    """Of the autoencoder."""
    return RATES["small"] if side <= SMALL else RATES["large"]


def flow_steps(quality: Quality, n_images: int, side: int) -> int:
    """Length of a flow's training on so many images.

    >>> flow_steps(DRAFT, 800, 28), flow_steps(DRAFT, 800, 64), flow_steps(DRAFT, 2500, 64)
    (1200, 100, 300)
    """
    if side <= SMALL:
        return quality.flow_steps
    return min(quality.flow_steps, max(LEAST_STEPS, MOST_PASSES * n_images // quality.batch_size))


def weight_decay(n_steps: int, batch_size: int, n_images: int) -> float:
    """Of a flow: none for images that it sees a few times, and up to 1 for few images, which it learns by heart.

    >>> weight_decay(1200, 50, 100_000), weight_decay(1200, 50, 1500)
    (0.0, 1.0)
    """
    epochs = n_steps * batch_size / n_images
    return round(min(1.0, epochs / DECAY_EPOCHS), 1)
