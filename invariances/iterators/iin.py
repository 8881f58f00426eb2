"""Training an invertible interpretation network: a flow between the codes of a first stage and N(0, 1)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.iterators.base import Iterator
from invariances.losses import flow_nll
from invariances.models.distributions import posterior_of, posterior_tensors
from invariances.models.first_stages.codes import gaussian
from invariances.models.frozen import Frozen


class IINIterator(Iterator):
    """Maximum likelihood of the codes z̄ ~ E(x) of a first stage (CVPR 2020, eq. 4).

    Args:
        model: `VectorTransformer`, code <-> (v, log-determinant).
        first_stage: `Autoencoder`, or any network with `z_dim` and `encode`, which returns a distribution over
            codes, or codes, (B, z_dim, 1, 1); frozen. Pictures also need its `decode`.
        **schedule: learning_rate, num_steps, decay_start, seed, weight_decay; see `Iterator`.

    Attributes:
        factor_names: names of the factors; here one, the whole output of the flow.

    Raises:
        InvalidInput: flow and first stage with codes of different sizes.
    """

    factor_names: tuple[str, ...] = ("all",)
    first_stage: Frozen[Any]

    def __init__(self, model: nn.Module, first_stage: nn.Module, **schedule: Any) -> None:
        super().__init__(model, **schedule)
        self.first_stage = Frozen(first_stage)
        _check_sizes(self.in_channel, first_stage)

    @property
    def in_channel(self) -> int:
        """Number of channels of the flow's codes."""
        return self.model.in_channel

    def encoders(self) -> dict[str, Callable[[Tensor], dict[str, Tensor]]]:
        """The posterior of the first stage."""
        return {"first_stage": lambda images: posterior_tensors(gaussian(self.first_stage.network.encode(images)))}

    def terms(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Negative log-likelihood of a batch, without its constant."""
        v, logdet = self.model(posterior_of(self.encoded(batch)).sample())
        return {"loss": flow_nll(v, logdet), "half_v_squared": v.square().mean() / 2, "logdet": logdet.mean()}

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """Codes to train on, (B, z_dim, 1, 1): a sample if the first stage returns a distribution."""
        return gaussian(self.first_stage.network.encode(images)).sample()

    def code(self, images: Tensor) -> Tensor:
        """The code of each image, (B, z_dim, 1, 1): the mode if the first stage returns a distribution."""
        return gaussian(self.first_stage.network.encode(images)).mode()

    def to_factors(self, code: Tensor) -> list[Tensor]:
        """The factors e(z̄) of codes, each (B, N_k, 1, 1)."""
        return [self.model(code)[0]]

    def to_code(self, factors: list[Tensor]) -> Tensor:
        """The codes e⁻¹ of factors, (B, N, 1, 1)."""
        return self.model.inverse(factors[0])

    def decode(self, code: Tensor) -> Tensor:
        """The images of codes, (B, C, H, W) in [-1, 1]."""
        return self.first_stage.network.decode(code)

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images of their codes, (B, C, H, W) in [-1, 1]."""
        return self.decode(self.code(images))

    def sample_images(self, n: int, generator: torch.Generator) -> Tensor:
        """Sample images D(e⁻¹(v)), v ~ N(0, 1), (n, C, H, W) in [-1, 1]."""
        return self.decode(self.model.sample(n, generator))

    def views(self, images: Tensor, n_samples: int, generator: torch.Generator) -> list[tuple[str, Tensor]]:
        """Images, their reconstructions, and samples, independent of the images; each (B, C, H, W) in [-1, 1]."""
        samples = [
            (f"sample {i + 1}", self.sample_images(len(images), generator)) for i in range(n_samples)
        ]
        return [("input", images), ("reconstruction", self.reconstruct(images)), *samples]


def _check_sizes(in_channel: int, first_stage: Any) -> None:
    if in_channel != first_stage.z_dim:
        raise InvalidInput(
            f"Transformer/in_channel is {in_channel}, but the codes of first_stage have {first_stage.z_dim} "
            f"channels; use {first_stage.z_dim}"
        )
