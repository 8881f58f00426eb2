"""Swap one factor between two images, and measure what changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, HasFactors
from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.metrics.predicted_class import predicted_class
from invariances.evaluation.pictures.base import Drawing, Images, Pixels
from invariances.evaluation.random_indices import derangement, random_examples
from invariances.evaluation.replace_factor import replace_factor
from invariances.models import Frozen
from invariances.utils.arguments import require_at_least
from invariances.utils.images import grid

LEAST_DEVIATION = 1e-6  # of a channel's mean over the image that is not constant; images lie in [-1, 1]


class Swaps(Drawing[HasFactors]):
    """Swaps of one factor between pairs of images, as pictures and as numbers: see `swap_scores`.

    Writes `swaps_<factor>.png` for each factor: each image has that factor of the image at the top of its
    column, and all others of the image on the left of its row (CVPR 2020, section 4).

    Args:
        n_images: rows and columns of a picture.
        n_pairs: number of validation images, at least 2, a random subset, that get a factor of another one; null
            for all.
        classifier: predicts the classes, as {checkpoint: …}; without it only colours are measured.
        batch_size: images at a time.
        seed: of the subset and the pairs.

    Raises:
        InvalidInput: a number is too small.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> class Task:
        ...     device, factor_names = torch.device("cpu"), ("red", "rest")
        ...     code = decode = staticmethod(lambda x: x)
        ...     to_factors = staticmethod(lambda code: [code[:, :1], code[:, 1:]])
        ...     to_code = staticmethod(lambda factors: torch.cat(factors, dim=1))
        >>> with TemporaryDirectory() as folder:
        ...     scores = Swaps(n_images=2)(Task(), [{"image": torch.randn(9, 3, 1, 1)}], Path(folder))
        ...     print(sorted(path.name for path in Path(folder).iterdir()))
        ['swaps_red.png', 'swaps_rest.png']
        >>> round(scores["swap_none_colour_kept"], 3)
        1.0
    """

    needs = HasFactors
    legend: ClassVar[Mapping[str, str]] = {
        "swap_none_class_*": "Share of the reconstructed images, with no factor swapped, with the class of the "
        "original (kept) or of the donor, whose class is another.",
        "swap_none_colour_*": "Correlation of the mean colour of the reconstructed images, with no factor swapped, "
        "with that of the original (kept) or of the donor.",
        "swap_*_class_donor": "Share of the swapped images with the class of the donor, whose class is another.",
        "swap_*_class_kept": "Share of the swapped images with the class of the original, where the donor has "
        "another.",
        "swap_*_colour_donor": "Correlation of the mean colour with that of the donor. 1: it is the donor's.",
        "swap_*_colour_kept": "Correlation of the mean colour with that of the original. 1: it is kept.",
    }

    def __init__(
        self,
        n_images: int = 6,
        n_pairs: int | None = 1000,
        classifier: nn.Module | None = None,
        batch_size: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__(n_images, seed)
        require_at_least(batch_size=(batch_size, 1))
        if n_pairs is not None:
            require_at_least(n_pairs=(n_pairs, 2))
        self.n_pairs, self.batch_size = n_pairs, batch_size
        self.classifier = None if classifier is None else Frozen(classifier)

    def pictures(self, iterator: HasFactors, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """One picture for each factor."""
        factors = iterator.to_factors(iterator.code(images))
        return {
            f"swaps_{name}": _table(iterator, images, factors, k)
            for k, name in enumerate(iterator.factor_names)
        }

    def __call__(self, iterator: HasFactors, loader: Batches, folder: Path) -> dict[str, float]:
        """Draw and measure."""
        super().__call__(iterator, loader, folder)
        images = random_examples(loader, self.n_pairs, iterator.device, self.seed)["image"]
        classifier = None if self.classifier is None else self.classifier.to(iterator.device)
        return swap_scores(iterator, images, classifier, self.batch_size, self.seed)


def _table(iterator: HasFactors, images: Tensor, factors: list[Tensor], k: int) -> Pixels:
    n = len(images)
    codes = iterator.to_code(replace_factor(factors, k, factors[k].repeat(n, 1, 1, 1)))
    rows = torch.cat([images.unsqueeze(1), iterator.decode(codes).unflatten(0, (n, n))], dim=1)
    top = torch.cat([torch.ones_like(images[:1]), images]).unsqueeze(0)  # an empty corner, then the donors
    return grid(torch.cat([top, rows]).flatten(0, 1), n_columns=n + 1)


@torch.no_grad()
def swap_scores(
    iterator: HasFactors,
    images: Images,
    classifier: nn.Module | None = None,
    batch_size: int = 50,
    seed: int = 0,
) -> dict[str, float]:
    """Compare images that got one factor of another image, the donor, with the donor and with the original.

    - `swap_<factor>_class_donor`, `swap_<factor>_class_kept`: share of the swapped images whose predicted class is
      the donor's, or the original's, over the pairs whose classes differ; NaN without such pairs.
    - `swap_<factor>_colour_donor`, `swap_<factor>_colour_kept`: correlation of their mean colour with that of
      the donors, or of the originals; mean over the channels that vary in both. Left out for grey images.
    - `swap_none_…`: the same with no factor swapped, which shows the effect of the autoencoder alone.
    - `<name>_ci`: half the 95 % confidence interval over the images, each of which is in two pairs; of shares, its
      ends are `<name>_low` and `<name>_high`.

    Args:
        iterator: has `code`, `to_factors`, `to_code`, `decode` and `factor_names`.
        images: (B, C, H, W) in [-1, 1], at least 2; the donor of each is another one, drawn at random.
        classifier: images -> logits (B, n_classes); without it the classes are left out.
        batch_size: images at a time.
        seed: of the pairs.

    Raises:
        InvalidInput: fewer than 2 images; a batch size below 1; a classifier that returns no logits.

    Example:
        >>> class Task:
        ...     device, factor_names = torch.device("cpu"), ("red", "rest")
        ...     code = decode = staticmethod(lambda x: x)
        ...     to_factors = staticmethod(lambda code: [code[:, :1], code[:, 1:]])
        ...     to_code = staticmethod(lambda factors: torch.cat(factors, dim=1))
        >>> images = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
        >>> scores = swap_scores(Task(), images)
        >>> round(scores["swap_none_colour_kept"], 3), round(scores["swap_none_colour_donor"], 3)
        (1.0, -1.0)
    """
    require_at_least(batch_size=(batch_size, 1))
    if len(images) < 2:
        raise InvalidInput(f"got {len(images)} image(s); expected at least 2")
    donors = derangement(len(images), seed)
    donor_images = images[donors.to(images.device)]
    pairs = zip(images.split(batch_size), donor_images.split(batch_size), strict=True)
    batches = [_measure(_swapped(iterator, image, donor), classifier) for image, donor in pairs]
    measured = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    scores: dict[str, float] = {}
    for kind, agreement in AGREEMENTS.items():
        for name in ("none", *iterator.factor_names) if (kind, "image") in measured else ():
            swapped, original, donor = (measured[kind, each] for each in (name, "image", "donor"))
            scores |= _entries(f"swap_{name}_{kind}_donor", agreement(swapped, donor, original, donors))
            scores |= _entries(f"swap_{name}_{kind}_kept", agreement(swapped, original, donor, donors))
    return scores


def _entries(name: str, estimate: Estimate | None) -> dict[str, float]:
    """The number and its interval, where it has one; nothing for a measure that is not defined."""
    return {} if estimate is None else {name: estimate.value} | estimate.numbers(name)


def _swapped(iterator: HasFactors, image: Tensor, donor: Tensor) -> dict[str, Tensor]:
    """The originals, their donors, and the decoded images with no factor and with each factor swapped."""
    kept, new = (iterator.to_factors(iterator.code(each)) for each in (image, donor))
    factors = {"none": kept} | {
        name: replace_factor(kept, k, new[k]) for k, name in enumerate(iterator.factor_names)
    }
    swapped = {name: iterator.decode(iterator.to_code(each)) for name, each in factors.items()}
    return {"image": image, "donor": donor, **swapped}


def _measure(pictures: dict[str, Tensor], classifier: nn.Module | None) -> dict[tuple[str, str], Tensor]:
    """Mean colour (B, 3) and class (B,) of each picture."""
    measured = {}
    for name, picture in pictures.items():
        if picture.shape[1] == 3:
            measured["colour", name] = picture.mean(dim=(2, 3))
        if classifier is not None:
            measured["class", name] = predicted_class(classifier(picture))
    return measured


def _accuracy(found: Tensor, expected: Tensor, other: Tensor, donors: Tensor) -> Estimate:
    """Share of the classes that are the expected ones, where the other one differs."""
    values = torch.where(expected != other, (found == expected).double(), torch.nan)
    return Estimate.proportion(values, donors)


def _correlation(found: Tensor, expected: Tensor, other: Tensor, donors: Tensor) -> Estimate | None:
    """Mean over the channels of the correlation r over the images; None where no channel varies in both sets.

    With x and y standardised, an image has the influence `xy − r (x² + y²) / 2`.
    """
    found, expected = found.double().cpu(), expected.double().cpu()
    deviations = [values.std(dim=0, correction=0) for values in (found, expected)]
    varies = torch.stack(deviations).amin(dim=0) > LEAST_DEVIATION
    if not varies.any():
        return None
    x, y = ((v - v.mean(dim=0))[:, varies] / d[varies] for v, d in zip((found, expected), deviations, strict=True))
    r = (x * y).mean(dim=0)
    influence = (x * y - r * (x.square() + y.square()) / 2).mean(dim=1)
    return Estimate(r.mean().item(), influence, donors)


AGREEMENTS = {"class": _accuracy, "colour": _correlation}
