"""Training a disentangling INN on pairs of examples that share a factor."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.iterators.iin import IINIterator
from invariances.losses import factor_nll


class DIINIterator(IINIterator):
    """Maximum likelihood of pairs of codes whose shared factors are correlated (CVPR 2020, eq. 10).

    A batch has `factor`, the index of the shared factor as in `factor_nll`, and the images `example1`, `example2`.

    Args:
        model: `FactorTransformer`, code <-> (factors, log-determinant).
        first_stage: see `IINIterator`.
        rho: correlation of the shared factors, in [0, 1).
        factor_names: names of the factors, the residual last; by default 0, 1, …, residual.
        **schedule: learning_rate, num_steps, decay_start, seed, weight_decay; see `Iterator`.

    Raises:
        InvalidInput: rho out of range; not as many names as factors; flow and first stage with codes of different
            sizes.
    """

    inputs = ("factor", "example1", "example2")

    def __init__(
        self,
        model: nn.Module,
        first_stage: nn.Module,
        rho: float = 0.975,
        factor_names: Sequence[str] | None = None,
        **schedule: Any,
    ) -> None:
        super().__init__(model, first_stage, **schedule)
        if not 0 <= rho < 1:
            raise InvalidInput(f"rho is {rho}; expected a correlation of at least 0 and below 1")
        self.rho = rho
        self.factor_names = _names(factor_names, len(self.model.sizes))

    @property
    def in_channel(self) -> int:
        """Number of channels of the flow's codes."""
        return sum(self.model.sizes)

    def encoders(self) -> dict[str, Callable[[Tensor], dict[str, Tensor]]]:
        """None: partners of pairs are drawn anew in each epoch."""
        return {}

    def terms(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Negative log-likelihood of pairs; both examples pass through the flow as one batch."""
        factors, logdet = self.model(self.codes(torch.cat([batch["example1"], batch["example2"]])))
        factors1, factors2 = zip(*(e.chunk(2) for e in factors), strict=True)
        logdet1, logdet2 = logdet.chunk(2)
        loss = factor_nll(factors1, logdet1, factors2, logdet2, batch["factor"], self.rho)
        half_v_squared = torch.cat(factors, dim=1).square().mean() / 2
        return {"loss": loss, "half_v_squared": half_v_squared, "logdet": logdet.mean()}

    def to_factors(self, code: Tensor) -> list[Tensor]:
        """The factors e(z̄) of codes, each (B, N_k, 1, 1)."""
        return self.model(code)[0]

    def to_code(self, factors: list[Tensor]) -> Tensor:
        """The codes e⁻¹ of factors, (B, N, 1, 1)."""
        return self.model.inverse(factors)

    def facts(self) -> dict[str, Any]:
        """Names and sizes of the factors."""
        return {"factors": dict(zip(self.factor_names, self.model.sizes, strict=True))}


def _names(given: Sequence[str] | None, n_factors: int) -> tuple[str, ...]:
    names = tuple(given) if given is not None else (*map(str, range(n_factors - 1)), "residual")
    if not len(names) == len(set(names)) == n_factors:
        expected = f"{n_factors} different names, that of the residual last"
        raise InvalidInput(f"factor_names is {list(names)}; expected {expected}")
    if any("/" in name for name in names):
        raise InvalidInput(
            f"factor_names is {list(names)}; expected names without /, which are used in file names"
        )
    return names
