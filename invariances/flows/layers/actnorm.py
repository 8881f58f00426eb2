"""ActNorm: a scale and shift for each channel, initialised from the first training batch, then learned."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from invariances.errors import InvalidInput
from invariances.flows.layers.base import Bijection

LEAST_VARIATION = 1e-3  # of a channel's standard deviation to the root mean square of all means


class ActNorm(Bijection):
    """y = scale · (x + loc), channel by channel.

    The first batch in training mode sets loc = −mean and scale = 1 / (std + 1e-6), over the batch, all positions
    and all processes of a distributed run: y then has mean 0 and standard deviation 1. A channel that is constant
    in that batch is centred and keeps scale 1, with a warning. The flag `initialized` is a buffer in the state
    dict.

    Args:
        channels: C of x, (B, C) or (B, C, …), any real values.

    Raises:
        InvalidInput: `inverse`, or evaluation mode, before the first training batch; a first batch with fewer
            than 2 values per channel, or with values that are not finite. The state is unchanged then.

    Source: Kingma and Dhariwal 2018, Glow, section 3.1.

    >>> norm = ActNorm(3)
    >>> y, logdet = norm(5 + 2 * torch.randn(100, 3))
    >>> y.mean(0).abs().max() < 1e-5, (y.std(0) - 1).abs().max() < 1e-5, logdet.shape
    (tensor(True), tensor(True), torch.Size([100]))
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.label = "ActNorm"  # in messages; `register_actnorms` sets the layer's name
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))
        self._known_initialized = False
        self.register_load_state_dict_post_hook(_forget_initialized)

    @property
    def is_initialized(self) -> bool:
        """Whether loc and scale are set. Cached once true, since reading the buffer synchronises with the GPU."""
        self._known_initialized = self._known_initialized or bool(self.initialized)
        return self._known_initialized

    def forward(
        self, x: Float[Tensor, "batch channels *grid"], embedding: Tensor | None = None
    ) -> tuple[Float[Tensor, "batch channels *grid"], Float[Tensor, " batch"]]:
        """Normalise x; log|det ∂y/∂x| = positions · Σ log|scale|, (B,)."""
        if self.training and not self.is_initialized:
            self._initialize(x)
        self._require_initialized()
        shape = _broadcast_shape(x)
        logdet = x.shape[2:].numel() * self.scale.abs().log().sum()
        return self.scale.view(shape) * (x + self.loc.view(shape)), logdet.expand(len(x))

    def inverse(
        self, y: Float[Tensor, "batch channels *grid"], embedding: Tensor | None = None
    ) -> Float[Tensor, "batch channels *grid"]:
        """Compute x = y / scale − loc."""
        self._require_initialized()
        shape = _broadcast_shape(y)
        return y / self.scale.view(shape) - self.loc.view(shape)

    def extra_repr(self) -> str:
        """The number of channels."""
        return f"{self.loc.numel()}"

    def _require_initialized(self) -> None:
        if not self.is_initialized:
            raise InvalidInput(
                f"{self.label} is not initialised: run a batch of data forward in training mode, "
                "or load a checkpoint"
            )

    @torch.no_grad()
    def _initialize(self, x: Tensor) -> None:
        mean, deviation = self._statistics(x)
        constant = deviation <= 10 * torch.finfo(mean.dtype).eps * mean.abs()  # rounding errors only
        if channels := constant.nonzero().flatten().tolist():
            warnings.warn(
                f"{self.label}: channels {channels} are constant in the first batch; they keep scale 1",
                stacklevel=2,
            )
        scale = torch.where(constant, 1.0, 1 / (deviation + 1e-6))
        self.loc.copy_(-mean.view_as(self.loc))
        self.scale.copy_(scale.view_as(self.scale))
        self.initialized.fill_(1)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (C,), in float32 or better; both must be finite."""
        values = x.to(torch.promote_types(x.dtype, torch.float32)).movedim(1, 0).flatten(1)
        n = _sum_over_processes(values.new_tensor(values.shape[1]))
        if n < 2:
            raise InvalidInput(
                f"{self.label}: the first training batch has shape {tuple(x.shape)}; expected at least 2 values "
                "per channel, to compute their mean and standard deviation; use a larger batch"
            )
        mean = _sum_over_processes(values.sum(1)) / n
        deviation = (_sum_over_processes((values - mean[:, None]).square().sum(1)) / (n - 1)).sqrt()
        if broken := (~deviation.isfinite()).nonzero().flatten().tolist():
            raise InvalidInput(f"{self.label}: channels {broken} of the first training batch are not finite")
        return mean, deviation


class ActNormLayer(ActNorm):
    """ActNorm for networks that are no flows: returns y without the log-determinant.

    Warns if no channel of the first batch varies by a thousandth of the layer's root mean square, as with the softmax
    of a network with random weights: at deviation 1, a step of the optimiser moves such channels by hundreds of them.

    >>> ActNormLayer(3)(torch.randn(4, 3, 8, 8)).shape
    torch.Size([4, 3, 8, 8])
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Normalise x, (B, C, …)."""
        return super().forward(x)[0]

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = super()._statistics(x)
        if deviation.max() < LEAST_VARIATION * mean.square().mean().sqrt():
            warnings.warn(
                f"{self.label}: what is embedded is the same for all images of the first batch, within "
                f"{LEAST_VARIATION:g} of its size; a flow cannot learn from it",
                stacklevel=2,
            )
        return mean, deviation


def register_actnorms(owner: nn.Module) -> None:
    """Set the names of all ActNorms of a network for their messages, and let it load files without their flags.

    To be called at the end of the network's constructor, see `fill_missing_initialized`.
    """
    for name, layer in owner.named_modules():
        if isinstance(layer, ActNorm):
            layer.label = name
    owner.register_load_state_dict_pre_hook(_fill_missing_before_loading)


def fill_missing_initialized(weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Set the `initialized` flags that older files lack to 1, with one warning.

    Without the flag, the next training batch would overwrite trained scales and shifts.

    Args:
        weights: names in the file to tensors.
        names: the flags, such as `flow.0.norm.initialized`; one is filled in if the `loc` next to it is there.
    """
    absent = [name for name in names if name not in weights and name.replace("initialized", "loc") in weights]
    if absent:
        warnings.warn(
            f"the weights lack {len(absent)} flags of ActNorm ({absent[0]} …); taken as initialised",
            stacklevel=2,
        )
    return {**weights, **{name: torch.tensor(1, dtype=torch.uint8) for name in absent}}


@contextmanager
def restored_on_failure(owner: nn.Module) -> Iterator[None]:
    """If a first batch is refused in one ActNorm of `owner`, reset the others that it has initialised."""
    fresh = [layer for layer in owner.modules() if isinstance(layer, ActNorm) and not layer.is_initialized]
    before = [{name: value.clone() for name, value in layer.state_dict().items()} for layer in fresh]
    try:
        yield
    except ValueError:
        for layer, state in zip(fresh, before, strict=True):
            layer.load_state_dict(state)
        raise


def _broadcast_shape(x: Tensor) -> tuple[int, ...]:
    """The shape (1, C, 1, …) in which one value per channel broadcasts over x."""
    return (1, -1) + (1,) * (x.ndim - 2)


def _sum_over_processes(value: Tensor) -> Tensor:
    """The sum over all processes of a distributed run."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value)
    return value


def _forget_initialized(layer: ActNorm, _: Any) -> None:
    """After loading, the cached flag may be out of date."""
    layer._known_initialized = False


def _fill_missing_before_loading(
    owner: nn.Module, state_dict: MutableMapping[str, Tensor], prefix: str, *_: Any
) -> None:
    layers = [name for name, layer in owner.named_modules() if isinstance(layer, ActNorm)]
    state_dict.update(fill_missing_initialized(state_dict, [f"{prefix}{name}.initialized" for name in layers]))
