"""ActNorm: scale and shift of each channel, set by the first training batch and learned from there on."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from invariances.flows.layers.base import Bijection


class ActNorm(Bijection):
    """y = scale · (x + loc), channel by channel.

    The first batch in training mode sets loc = −mean and scale = 1 / (deviation + 1e-6), over the batch, all
    positions and all processes of a distributed run: y starts with mean 0 and deviation 1. A channel that is
    constant in that batch is centred and keeps scale 1, with a warning. The mark `initialized` is part of the
    state dict.

    Args:
        channels: C of x, (B, C) or (B, C, …), any real values.

    Raises:
        ValueError: `inverse`, or evaluation mode, before the first training batch; a first batch with fewer
            than 2 values a channel, or with values that are not finite. Nothing has changed then.

    Source: Kingma and Dhariwal 2018, Glow, section 3.1.

    >>> norm = ActNorm(3)
    >>> y, logdet = norm(5 + 2 * torch.randn(100, 3))
    >>> y.mean(0).abs().max() < 1e-5, (y.std(0) - 1).abs().max() < 1e-5, logdet.shape
    (tensor(True), tensor(True), torch.Size([100]))
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.label = "ActNorm"  # in messages; `register_actnorms` puts the layer's name here
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))
        self._seen_mark = False
        self.register_load_state_dict_post_hook(_look_again)

    @property
    def started(self) -> bool:
        """Whether loc and scale are set; on a GPU the mark is read only once, since reading makes it wait."""
        self._seen_mark = self._seen_mark or bool(self.initialized)
        return self._seen_mark

    def forward(
        self, x: Float[Tensor, "batch channels *grid"], embedding: Tensor | None = None
    ) -> tuple[Float[Tensor, "batch channels *grid"], Float[Tensor, " batch"]]:
        """The normalised x and log|det| = positions · Σ log|scale|."""
        if self.training and not self.started:
            self._start(x)
        self._require_start()
        shape = _over(x)
        logdet = x.shape[2:].numel() * self.scale.abs().log().sum()
        return self.scale.view(shape) * (x + self.loc.view(shape)), logdet.expand(len(x))

    def inverse(
        self, y: Float[Tensor, "batch channels *grid"], embedding: Tensor | None = None
    ) -> Float[Tensor, "batch channels *grid"]:
        """Undo `forward`: y / scale − loc."""
        self._require_start()
        return y / self.scale.view(_over(y)) - self.loc.view(_over(y))

    def extra_repr(self) -> str:
        """The number of channels."""
        return f"{self.loc.numel()}"

    def _require_start(self) -> None:
        if not self.started:
            raise ValueError(
                f"{self.label} is not initialised: run a batch of data forward in training mode, "
                "or load a checkpoint"
            )

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        mean, deviation = self._measure(x)
        constant = deviation <= 10 * torch.finfo(mean.dtype).eps * mean.abs()  # nothing but rounding
        if channels := constant.nonzero().flatten().tolist():
            warnings.warn(
                f"{self.label}: channels {channels} are constant in the first batch; they keep scale 1",
                stacklevel=2,
            )
        scale = torch.where(constant, 1.0, 1 / (deviation + 1e-6))
        self.loc.copy_(-mean.view_as(self.loc))
        self.scale.copy_(scale.view_as(self.scale))
        self.initialized.fill_(1)

    def _measure(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, in float32 or better; refused if meaningless."""
        values = x.to(torch.promote_types(x.dtype, torch.float32)).movedim(1, 0).flatten(1)
        n = _over_processes(values.new_tensor(values.shape[1]))
        if n < 2:
            raise ValueError(
                f"{self.label}: the first training batch has shape {tuple(x.shape)}; to be measured it needs "
                "at least 2 values a channel"
            )
        mean = _over_processes(values.sum(1)) / n
        deviation = (_over_processes((values - mean[:, None]).square().sum(1)) / (n - 1)).sqrt()
        if broken := (~deviation.isfinite()).nonzero().flatten().tolist():
            raise ValueError(f"{self.label}: channels {broken} of the first training batch are not finite")
        return mean, deviation


class ActNormLayer(ActNorm):
    """ActNorm in a network that is no flow: gives y alone."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The normalised x."""
        return super().forward(x)[0]


def register_actnorms(owner: nn.Module) -> None:
    """Finish a network that holds ActNorms: name them in messages, and load files without their marks."""
    for name, layer in owner.named_modules():
        if isinstance(layer, ActNorm):
            layer.label = name
    owner.register_load_state_dict_pre_hook(_complete)


def fill_missing_initialized(weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Complete the weights of an older file by the marks that it lacks, as initialised, with one warning.

    To start anew with the next batch would ruin trained weights.

    Args:
        weights: names in the file to tensors.
        names: the marks, such as `flow.0.norm.initialized`.
    """
    absent = [name for name in names if name not in weights and name.replace("initialized", "loc") in weights]
    if absent:
        warnings.warn(
            f"the weights lack {len(absent)} marks of ActNorm ({absent[0]} …); taken as initialised",
            stacklevel=2,
        )
    return {**weights, **{name: torch.tensor(1, dtype=torch.uint8) for name in absent}}


@contextmanager
def restored_on_failure(owner: nn.Module) -> Iterator[None]:
    """Take back what the first batch has set in some ActNorms of `owner` if it fails in another one."""
    fresh = [layer for layer in owner.modules() if isinstance(layer, ActNorm) and not layer.started]
    before = [{name: value.clone() for name, value in layer.state_dict().items()} for layer in fresh]
    try:
        yield
    except ValueError:
        for layer, state in zip(fresh, before, strict=True):
            layer.load_state_dict(state)
        raise


def _over(x: Tensor) -> tuple[int, ...]:
    """The shape in which one value a channel spreads over x: (1, C, 1, …)."""
    return (1, -1) + (1,) * (x.ndim - 2)


def _over_processes(value: Tensor) -> Tensor:
    """The sum over all processes of a distributed run."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value)
    return value


def _look_again(layer: ActNorm, _: Any) -> None:
    """After loading, the mark may be another one."""
    layer._seen_mark = False


def _complete(owner: nn.Module, state_dict: MutableMapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Add the marks that a state dict lacks before it is loaded."""
    layers = [name for name, layer in owner.named_modules() if isinstance(layer, ActNorm)]
    state_dict.update(fill_missing_initialized(state_dict, [f"{prefix}{name}.initialized" for name in layers]))
