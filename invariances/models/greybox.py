"""A network under study, cut in two at a layer."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.models.checks import check_images
from invariances.models.layers import Layer, Trace, WithEnds, cuttable, find, on_output, shape_of, trace
from invariances.models.pretrained import LoadedNetwork, load_network

ROUNDING = 100  # in units of the last place of the largest output


class _Captured(Exception):
    """Ends a forward pass once the layer has been computed."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class Greybox(nn.Module):
    """A network f = Ψ∘Φ cut at a layer: `encode` is Φ, `decode` is Ψ (ECCV 2020, section 3).

    The network is run as it stands, plain function calls such as flattening included; only the layer's output
    is taken out or put in. `encode` ends there. `decode` runs what comes before on one blank image, or on as
    many as there are representations if the network asks its input for their number.

    The network is frozen: its parameters' `requires_grad` is set to False, and it stays in eval mode whatever
    its owner does. Gradients flow through `encode` and `decode` to their inputs.

    Args:
        model: an `nn.Module`, "torchvision:alexnet", "timm:resnet18", or the import path of a module, or of a
            class or function that gives one when called without arguments.
        layer: name of a submodule, or `input` (the preprocessed image), or `softmax` (of the output, which
            makes f(x) probabilities).
        weights: name of pretrained weights for torchvision and timm models; random weights unless given.
        preprocess: maps images in [-1, 1] to the network's input. Models of torchvision and timm have their
            own, see `Preprocess`; others get the images as they are.
        in_size, in_channels: of images to try the network with; unless given, the model's attributes of these
            names, or what torchvision or timm state, or 224 and 3.

    Attributes:
        layer: the layer's name.
        shape: (C, H, W) of the representation.
        depth: how many layers at which the network can be cut lie before this one.

    Raises:
        ValueError: no such model, weights or layer; a layer through which not everything passes.
        TypeError: images that are not floating point.
        UserError: weights that cannot be downloaded or read.

    Example:
        >>> from invariances.models import DigitClassifier
        >>> box = Greybox(DigitClassifier(), layer="penultimate")
        >>> z = box.encode(torch.zeros(5, 3, 32, 32))
        >>> z.shape, box.decode(z).shape
        (torch.Size([5, 64, 1, 1]), torch.Size([5, 10]))
        >>> [layer.name for layer in Greybox.layers(DigitClassifier())][:5]
        ['input', 'conv1.0', 'conv1.1', 'conv1.2', 'conv1']
    """

    def __init__(
        self,
        model: nn.Module | str,
        layer: str,
        weights: str | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        in_size: int | None = None,
        in_channels: int | None = None,
    ) -> None:
        found = _load(model, weights, preprocess=preprocess, in_size=in_size, in_channels=in_channels)
        super().__init__()
        self.layer, self.in_size, self.in_channels = layer, found.in_size, found.in_channels
        self.network, self.preprocess = WithEnds(found.network, softmax=layer == "softmax"), found.preprocess
        self.requires_grad_(False).eval()
        traced = _trace(self.network, found)
        output = find(self.network, layer, traced)
        self.shape, self._rank = shape_of(output), output.ndim
        self.depth = list(cuttable(self.network, traced)).index(layer)
        self._input_shape = traced.source.shape[1:]
        self._choose_stand_in(found.probe())

    @staticmethod
    def layers(
        model: nn.Module | str,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        in_size: int | None = None,
        in_channels: int | None = None,
    ) -> list[Layer]:
        """The layers at which a network can be cut, from input to output, found in one forward pass."""
        found = _load(model, None, preprocess=preprocess, in_size=in_size, in_channels=in_channels)
        network = WithEnds(found.network, softmax=True)
        return list(cuttable(network, _trace(network, found)).values())

    def train(self, mode: bool = True) -> "Greybox":
        """Stays in eval mode."""
        return super().train(False)

    def extra_repr(self) -> str:
        """The cut, for `print`."""
        return f"layer={self.layer!r}, shape={self.shape}"

    def encode(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch z_channels z_height z_width"]:
        """The representation z = Φ(x) of images in [-1, 1]; (B, C, 1, 1) where the layer gives vectors."""
        z = self._capture(self._prepare(x))
        if shape_of(z) != self.shape:
            raise ValueError(
                f"images of shape {tuple(x.shape)} give a representation of shape {shape_of(z)} in place of "
                f"{self.shape}; expected images of {self.in_size} pixels"
            )
        return z.reshape(-1, *self.shape)

    def decode(self, z: Float[Tensor, "batch z_channels z_height z_width"]) -> Tensor:
        """What the network makes of a representation, Ψ(z): as `forward` of images that have it."""
        if tuple(z.shape[1:]) != self.shape:
            raise ValueError(f"representations have shape {tuple(z.shape)}; expected {('B', *self.shape)}")
        own = z.reshape(z.shape[: self._rank]).clone()  # the next layer may work in place
        stand_in = z.new_zeros(1 if self._one_image else len(z), *self._input_shape)
        with on_output(self._module, lambda output: own):
            return self._run(stand_in)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        """The network's output f(x) for images in [-1, 1]."""
        return self._run(self._prepare(x))

    def exact(self, x: Float[Tensor, "batch channels height width"]) -> float:
        """The largest |decode(encode(x)) − f(x)|, which is rounding or nothing."""
        return self._error(x, self(x))

    @property
    def _module(self) -> nn.Module:
        return self.network.layers()[self.layer]

    def _run(self, images: Tensor) -> Tensor:
        return self.network.eval()(images)  # whoever gave the network may have called its `train()` since

    def _prepare(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels)
        return self.preprocess(x)

    def _capture(self, images: Tensor) -> Tensor:
        def capture(output: Tensor) -> Tensor:
            raise _Captured(output.clone())  # the layer may have given its own input

        try:
            with on_output(self._module, capture):
                self._run(images)
        except _Captured as captured:
            return captured.output
        raise ValueError(f"layer {self.layer!r} was not called for images of shape {tuple(images.shape)}")

    @torch.no_grad()
    def _error(self, x: Tensor, whole: Tensor) -> float:
        return (self.decode(self.encode(x)) - whole).abs().max().item()

    def _choose_stand_in(self, probe: Tensor) -> None:
        """One image costs least, but a network may use the number of images that it was given."""
        whole = self(probe)
        tolerance = ROUNDING * torch.finfo(probe.dtype).eps * max(1.0, whole.abs().max().item())
        self._one_image = True
        with suppress(RuntimeError, TypeError, ValueError, AssertionError):
            if self._error(probe, whole) <= tolerance:
                return
        self._one_image = False
        error = self._error(probe, whole)
        if not error <= tolerance:
            raise ValueError(
                f"layer {self.layer!r} does not determine the output: decode(encode(x)) and f(x) differ by "
                f"{error:.1e}; does the network draw random numbers?"
            )


def _load(model: nn.Module | str, weights: str | None, **given: Any) -> LoadedNetwork:
    return replace(
        load_network(model, weights), **{name: value for name, value in given.items() if value is not None}
    )


def _trace(network: WithEnds, found: LoadedNetwork) -> Trace:
    probe = found.probe()
    try:
        return trace(network, found.preprocess(probe))
    except RuntimeError as error:
        raise ValueError(
            f"the network does not take images of shape {tuple(probe.shape)} ({str(error).splitlines()[0]}); "
            "give in_size and in_channels"
        ) from error
