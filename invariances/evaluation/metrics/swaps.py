"""One factor exchanged between two images: what changes, and does it change as it should?"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invariances.evaluation.base import first_examples
from invariances.evaluation.metrics.predicted_class import predicted_class
from invariances.evaluation.pictures.base import Drawing, Images, Pixels
from invariances.evaluation.replace_factor import replace_factor
from invariances.flows.vectors import require
from invariances.models import Frozen
from invariances.utils.images import grid


class Swaps(Drawing):
    """Swaps of one factor between pairs of images, as pictures and as numbers: see `swap_scores`.

    Writes `swaps_<factor>.png` for each factor: each image has that factor of the image at the top of its
    column, and all else of the one on the left of its row (CVPR 2020, section 4).

    Args:
        n_images: rows and columns of a picture.
        n_pairs: how many validation images, at least 2, get a factor of another one, from the first on; null for all.
        classifier: judges the classes, as {checkpoint: …}; without it only colours are measured.
        batch_size: images at a time.
        seed: of the pairs.

    Raises:
        ValueError: a number is too small.
    """

    def __init__(
        self,
        n_images: int = 6,
        n_pairs: int | None = 1000,
        classifier: nn.Module | None = None,
        batch_size: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__(n_images, seed)
        require(batch_size=(batch_size, 1))
        if n_pairs is not None:
            require(n_pairs=(n_pairs, 2))
        self.n_pairs, self.batch_size = n_pairs, batch_size
        self.classifier = None if classifier is None else Frozen(classifier)

    def pictures(self, iterator: Any, images: Images, generator: torch.Generator) -> dict[str, Pixels]:
        """One picture for each factor."""
        factors = iterator.to_factors(iterator.code(images))
        return {
            f"swaps_{name}": _table(iterator, images, factors, k)
            for k, name in enumerate(iterator.factor_names)
        }

    def __call__(self, iterator: Any, loader: Any, folder: Path) -> dict[str, float]:
        """Draw and measure."""
        super().__call__(iterator, loader, folder)
        images = first_examples(loader, self.n_pairs, iterator.device)["image"]
        classifier = None if self.classifier is None else self.classifier.to(iterator.device)
        return swap_scores(iterator, images, classifier, self.batch_size, self.seed)


def _table(iterator: Any, images: Tensor, factors: list[Tensor], k: int) -> Pixels:
    n = len(images)
    codes = iterator.to_code(replace_factor(factors, k, factors[k].repeat(n, 1, 1, 1)))
    rows = torch.cat([images.unsqueeze(1), iterator.decode(codes).unflatten(0, (n, n))], dim=1)
    top = torch.cat([torch.ones_like(images[:1]), images]).unsqueeze(0)  # an empty corner, the donors
    return grid(torch.cat([top, rows]).flatten(0, 1), n_columns=n + 1)


@torch.no_grad()
def swap_scores(
    iterator: Any,
    images: Images,
    classifier: nn.Module | None = None,
    batch_size: int = 50,
    seed: int = 0,
) -> dict[str, float]:
    """What becomes of an image that gets one factor of another one, its donor.

    - `swap_<factor>_class_donor`, `swap_<factor>_class_kept`: part of the swapped images that the classifier
      gives the donor's class, or their own, over the pairs whose classes differ.
    - `swap_<factor>_colour_donor`, `swap_<factor>_colour_kept`: correlation of their mean colour with that of
      the donors, or with their own; mean over the three channels. Left out for grey images.
    - `swap_none_…`: the same with nothing swapped, which shows what the autoencoder alone does.

    Args:
        iterator: has `code`, `to_factors`, `to_code`, `decode` and `factor_names`.
        images: at least 2, in [-1, 1]; each gets another one of them for a donor, at random.
        classifier: images -> logits; without it the classes are left out.
        batch_size: images at a time.
        seed: of the pairs.

    Raises:
        ValueError: fewer than 2 images; a batch size below 1; a classifier that gives no logits.
    """
    require(batch_size=(batch_size, 1))
    if len(images) < 2:
        raise ValueError(f"{len(images)} image(s); a swap needs at least 2")
    given = images[donors(len(images), seed).to(images.device)]
    pairs = zip(images.split(batch_size), given.split(batch_size), strict=True)
    batches = [_measure(_swapped(iterator, image, donor), classifier) for image, donor in pairs]
    seen = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    scores = {}
    for what, agreement in AGREEMENTS.items():
        for name in ("none", *iterator.factor_names) if (what, "image") in seen else ():
            found, own, donor = (seen[what, each] for each in (name, "image", "donor"))
            scores[f"swap_{name}_{what}_donor"] = agreement(found, donor, own)
            scores[f"swap_{name}_{what}_kept"] = agreement(found, own, donor)
    return scores


def donors(n: int, seed: int) -> Tensor:
    """For each of n images the place of another one, (n,): a random permutation that leaves none in its place.

    It is one cycle through all images in random order, so their order in the data set makes no difference.

    >>> donors(2, seed=0)
    tensor([1, 0])
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def _swapped(iterator: Any, image: Tensor, donor: Tensor) -> dict[str, Tensor]:
    """The images, their donors, and what becomes of the images with nothing and with each factor swapped."""
    own, given = (iterator.to_factors(iterator.code(each)) for each in (image, donor))
    factors = {"none": own} | {
        name: replace_factor(own, k, given[k]) for k, name in enumerate(iterator.factor_names)
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


def _same(found: Tensor, expected: Tensor, other: Tensor) -> float:
    """Part of the classes that are as expected, where another class could be had."""
    return (found == expected)[expected != other].float().mean().item()


def _correlation(found: Tensor, expected: Tensor, other: Tensor) -> float:
    """Mean over the channels of the correlation over the images."""
    x, y = (values - values.mean(dim=0) for values in (found, expected))
    return ((x * y).sum(dim=0) / (x.norm(dim=0) * y.norm(dim=0))).mean().item()


AGREEMENTS = {"class": _same, "colour": _correlation}
