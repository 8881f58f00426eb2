"""Sizes of factors in the codes of a model, measured on pairs of images that share one factor."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, CanEncode, Distribution, Evaluation, HasEncoder
from invariances.evaluation.metrics.dimensions import DimensionEstimator

log = logging.getLogger(__name__)


class FactorSizes(Evaluation[HasEncoder]):
    """Sizes of the factors in the codes of a model with `encode`, from the pairs of the validation split.

    Writes `factors.json`, which `Transformer/factor_config` takes, and the bar plot `factors.png`. The numbers
    are `size_<factor>` and `score_<factor>`, see `estimate_dimensions`, and `<name>_ci`, half their 95 % confidence
    interval over pairs, see `DimensionEstimator.half_widths`. Warns of few pairs and of constant channels.

    Args:
        factors: their names in the order of their indices, without the residual, which is added as the last.
        seed: of the codes sampled from a distribution.

    Raises:
        InvalidInput: no factor, or two of one name.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from types import SimpleNamespace
        >>> task = SimpleNamespace(model=SimpleNamespace(encode=lambda x: x), device=torch.device("cpu"))
        >>> x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).reshape(2, 2, 1, 1)
        >>> pairs = {"factor": torch.tensor([0, 0]), "example1": x, "example2": x}
        >>> with TemporaryDirectory() as folder:
        ...     FactorSizes(["digit"])(task, [pairs], Path(folder))
        {'size_digit': 1.0, 'size_residual': 1.0, 'score_digit': 1.0, 'score_residual': 1.0}
    """

    needs = HasEncoder
    needs_model = CanEncode
    legend: ClassVar[Mapping[str, str]] = {
        "size_*": "Number of dimensions of the code that belong to the factor. A concept that the code ignores gets "
        "some, too: N / (1 + e (K − 1)) of N with K factors, the residual among them. The interval is over pairs, "
        "before rounding.",
        "score_*": "Similarity of the codes of pairs that share the factor. 1: the codes are equal; 0: independent. "
        "That of the residual is 1 by definition.",
    }

    def __init__(self, factors: Sequence[str], seed: int = 0) -> None:
        self.names, self.seed = [*factors, "residual"], seed
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise InvalidInput(
                f"factors is {list(factors)}; expected one name or more, all different, without residual"
            )

    def __call__(self, iterator: HasEncoder, loader: Batches, folder: Path) -> dict[str, float]:
        """Measure the model of an iterator.

        Raises:
            TypeError: it has no `encode`.
        """
        if not hasattr(iterator.model, "encode"):
            raise TypeError(f"{type(iterator.model).__name__} has no encode; expected a model with codes")
        estimator = _estimator(iterator.model.encode, loader, len(self.names), iterator.device, self.seed)
        sizes, scores = estimator.compute()
        log.info("[INFO] [dim_callback]: estimated factor dimensionalities: %s", sizes)  # a line that people grep for
        facts = {"factors": self.names, "sizes": sizes, "scores": scores, "n_pairs": estimator.n_pairs}
        (folder / "factors.json").write_text(json.dumps(facts, indent=1))
        _plot(self.names, sizes, scores).savefig(folder / "factors.png", dpi=110)
        named = {"size": [float(size) for size in sizes], "score": scores}
        if half_widths := estimator.half_widths():
            named |= {"size_ci": half_widths[0], "score_ci": half_widths[1]}
        return self._numbers(named)

    def _numbers(self, named: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Numbers `<kind>_<factor>`, or `<kind>_<factor>_ci` for `<kind>_ci`."""
        return {
            f"{kind.removesuffix('_ci')}_{name}{'_ci' if kind.endswith('_ci') else ''}": value
            for kind, values in named.items()
            for name, value in zip(self.names, values, strict=True)
        }


def factor_sizes(
    encode: Callable[[Tensor], Tensor | Distribution],
    loader: Batches,
    n_factors: int,
    device: torch.device,
    seed: int = 0,
) -> tuple[list[int], list[float]]:
    """Sizes and scores of the factors in the codes of pairs: see `estimate_dimensions`.

    Args:
        encode: images -> codes (B, C, 1, 1), or a distribution over them, from which one code is sampled.
        loader: batches with `factor`, `example1` and `example2`.
        n_factors: number of factors, with the residual.
        device: of the network.
        seed: of the samples.

    Raises:
        InvalidInput: the batches hold no pairs, or there are more factors than channels; otherwise as
            `DimensionEstimator`.

    Example:
        >>> x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).reshape(2, 2, 1, 1)
        >>> pairs = {"factor": torch.tensor([0, 0]), "example1": x, "example2": x}
        >>> factor_sizes(lambda images: images, [pairs], n_factors=2, device=torch.device("cpu"))
        ([1, 1], [1.0, 1.0])
    """
    return _estimator(encode, loader, n_factors, device, seed).compute()


@torch.no_grad()
def _estimator(
    encode: Callable[[Tensor], Tensor | Distribution],
    loader: Batches,
    n_factors: int,
    device: torch.device,
    seed: int,
) -> DimensionEstimator:
    """An estimator that has seen all pairs."""
    estimator, generator = DimensionEstimator(n_factors), torch.Generator(device).manual_seed(seed)
    for batch in loader:
        if "factor" not in batch:
            raise InvalidInput(f"examples hold {', '.join(batch)}; expected pairs: factor, example1, example2")
        encoded = [encode(batch[name].to(device)) for name in ("example1", "example2")]
        codes1, codes2 = (z if isinstance(z, Tensor) else z.sample(generator) for z in encoded)
        if n_factors > (n_channels := codes1.shape[1]):  # memory goes by their number
            most = f"codes of {n_channels} channels have at most {n_channels} factors, one channel each"
            raise InvalidInput(f"n_factors is {n_factors}, but {most}; use a smaller number")
        estimator.update(batch["factor"], codes1, codes2)
    return estimator


def _plot(names: list[str], sizes: list[int], scores: list[float]) -> Figure:
    figure = Figure(figsize=(1.5 + 1.2 * len(names), 3), layout="constrained")
    axis = figure.subplots()
    bars = axis.bar(names, sizes, color=["C0"] * (len(names) - 1) + ["0.7"])
    axis.bar_label(bars, [f"{size}\nscore {score:.2f}" for size, score in zip(sizes, scores, strict=True)])
    axis.margins(y=0.2)
    axis.set_ylabel(f"dimensions of {sum(sizes)}")
    axis.spines[["top", "right"]].set_visible(False)
    return figure
