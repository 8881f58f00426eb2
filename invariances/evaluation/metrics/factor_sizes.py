"""How many dimensions of a code belong to each factor: measured on pairs that share one."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from invariances.evaluation.metrics.dimensions import DimensionEstimator


class FactorSizes:
    """Sizes of the factors in the codes of a model with `encode`, from the pairs of the validation split.

    Writes `factors.json`, which `Transformer/factor_config` takes, and the bar plot `factors.png`. The numbers
    are `size_<factor>` and `score_<factor>`, see `estimate_dimensions`.

    Args:
        factors: their names in the order of their numbers; the residual comes as the last.
        seed: of codes that are drawn from a distribution.

    Raises:
        ValueError: no factor, or two of one name.
    """

    def __init__(self, factors: Sequence[str], seed: int = 0) -> None:
        self.names, self.seed = [*factors, "residual"], seed
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise ValueError(f"factors is {list(factors)}; expected one name or more, all different, without residual")

    def __call__(self, iterator: Any, loader: Any, folder: Path) -> dict[str, float]:
        """Measure the model of an iterator.

        Raises:
            TypeError: it has no `encode`.
        """
        if not hasattr(iterator.model, "encode"):
            raise TypeError(f"{type(iterator.model).__name__} has no encode, so it has no codes to measure")
        sizes, scores = factor_sizes(
            iterator.model.encode, loader, len(self.names), iterator.device, self.seed
        )
        facts = {"factors": self.names, "sizes": sizes, "scores": scores, "n_pairs": len(loader.dataset)}
        (folder / "factors.json").write_text(json.dumps(facts, indent=1))
        _plot(self.names, sizes, scores).savefig(folder / "factors.png", dpi=110)
        return {
            f"{what}_{name}": float(value)
            for what, values in (("size", sizes), ("score", scores))
            for name, value in zip(self.names, values, strict=True)
        }


@torch.no_grad()
def factor_sizes(
    encode: Callable[[Tensor], Any],
    loader: Iterable[dict[str, Tensor]],
    n_factors: int,
    device: torch.device,
    seed: int = 0,
) -> tuple[list[int], list[float]]:
    """Sizes and scores of the factors in what `encode` makes of pairs: see `estimate_dimensions`.

    Args:
        encode: images -> codes (B, C, 1, 1), or a distribution over them, of which one is drawn.
        loader: batches with `factor`, `example1` and `example2`.
        n_factors: with the residual.
        device: of the network.
        seed: of the draws.

    Raises:
        ValueError: no pairs; otherwise as `DimensionEstimator`.
    """
    estimator, generator = DimensionEstimator(n_factors), torch.Generator(device).manual_seed(seed)
    for batch in loader:
        if "factor" not in batch:
            raise ValueError(f"examples hold {', '.join(batch)}; the sizes of factors are measured on pairs")
        examples = [encode(batch[name].to(device)) for name in ("example1", "example2")]
        codes = [z if isinstance(z, Tensor) else z.sample(generator) for z in examples]
        estimator.update(batch["factor"], *codes)
    return estimator.compute()


def _plot(names: list[str], sizes: list[int], scores: list[float]) -> Figure:
    figure = Figure(figsize=(1.5 + 1.2 * len(names), 3), layout="constrained")
    axis = figure.subplots()
    bars = axis.bar(names, sizes, color=["C0"] * (len(names) - 1) + ["0.7"])
    axis.bar_label(bars, [f"{size}\nscore {score:.2f}" for size, score in zip(sizes, scores, strict=True)])
    axis.margins(y=0.2)
    axis.set_ylabel(f"dimensions of {sum(sizes)}")
    axis.spines[["top", "right"]].set_visible(False)
    return figure
