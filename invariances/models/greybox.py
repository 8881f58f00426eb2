"""A network under study, split in two at a layer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.models.checks import check_images
from invariances.models.pretrained import LoadedNetwork, load_network
from invariances.models.splitting import (
    EndpointWrapper,
    Layer,
    Trace,
    output_of,
    output_replaced,
    shape_of,
    splittable_layers,
    trace,
)
from invariances.utils.memory import is_out_of_memory

ROUNDING = 100  # tolerated rounding errors, in machine epsilons of the largest output


class _Captured(Exception):
    """Ends a forward pass once the layer's output is known."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class Greybox(nn.Module):
    """A network f = Ψ∘Φ split at a layer: `encode` is Φ, `decode` is Ψ (ECCV 2020, section 3).

    The network's own forward pass is run, including function calls such as flattening; only the layer's output is
    read or replaced. `encode` ends there. `decode` runs the preceding layers on one blank image, or on as many as
    there are representations if the network uses the batch size of its input.

    The network is frozen: its parameters' `requires_grad` is set to False, and it stays in eval mode also when
    its owner calls `train()`. Gradients flow through `encode` and `decode` to their inputs.

    Args:
        model: an `nn.Module`, "torchvision:alexnet", "timm:resnet18", or the import path of a module, or of a
            class or function that returns one when called without arguments.
        layer: name of a submodule, or `input` (the preprocessed image), or `softmax` (of the output; f(x) are
            probabilities then).
        weights: name of pretrained weights for torchvision and timm models; by default the weights are random.
        preprocess: maps images in [-1, 1] to the network's input. By default that of torchvision and timm models,
            see `Preprocess`; none for others.
        in_size, in_channels: side and channels of the images with which the network is traced; by default the
            model's attributes of these names, or those of torchvision or timm, or 224 and 3.

    Attributes:
        layer: the layer's name.
        shape: (C, H, W) of the representation.
        depth: number of layers before this one at which the network could be split.

    Raises:
        InvalidInput: no such model, weights or layer; a layer that does not determine the output.
        TypeError: images that are not floating point.
        UserError: weights that cannot be downloaded or read.

    Source: Rombach, Esser and Ommer 2020, Making sense of CNNs, section 3.

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
        loaded = _load(model, weights, preprocess=preprocess, in_size=in_size, in_channels=in_channels)
        super().__init__()
        self.layer, self.in_size, self.in_channels = layer, loaded.in_size, loaded.in_channels
        self.network, self.preprocess = EndpointWrapper(loaded.network, layer == "softmax"), loaded.preprocess
        self.requires_grad_(False).eval()
        traced = _trace(self.network, loaded)
        output = output_of(self.network, layer, traced)
        self.shape, self._rank = shape_of(output), output.ndim
        self.depth = list(splittable_layers(self.network, traced)).index(layer)
        self._input_shape = traced.input.shape[1:]
        self._check_exactness(loaded.probe())

    @staticmethod
    def layers(
        model: nn.Module | str,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        in_size: int | None = None,
        in_channels: int | None = None,
    ) -> list[Layer]:
        """The layers at which a network can be split, from input to output, found in one forward pass.

        Args:
            model, preprocess, in_size, in_channels: see the class.

        Raises:
            InvalidInput: no such model, or it does not take images of this shape.
        """
        loaded = _load(model, None, preprocess=preprocess, in_size=in_size, in_channels=in_channels)
        network = EndpointWrapper(loaded.network, softmax=True)
        return list(splittable_layers(network, _trace(network, loaded)).values())

    def train(self, mode: bool = True) -> "Greybox":
        """Stay in eval mode."""
        return super().train(False)

    @property
    def studied(self) -> nn.Module:
        """The whole network under study."""
        return self.network.network

    def extra_repr(self) -> str:
        """The layer and the shape of the representation."""
        return f"layer={self.layer!r}, shape={self.shape}"

    def encode(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch z_channels z_height z_width"]:
        """Compute the representation z = Φ(x) of images in [-1, 1]; (B, C, 1, 1) if the layer returns vectors.

        Raises:
            InvalidInput: images of a size for which the representation has another shape.
        """
        z = self._capture(self._prepare(x))
        if shape_of(z) != self.shape:
            raise InvalidInput(
                f"images of shape {tuple(x.shape)} have a representation of shape {shape_of(z)}; expected "
                f"{self.shape}, use images of {self.in_size} pixels"
            )
        return z.reshape(-1, *self.shape)

    def decode(self, z: Float[Tensor, "batch z_channels z_height z_width"]) -> Tensor:
        """Compute the network's output for representations, Ψ(z), shaped as that of `forward`.

        Raises:
            InvalidInput: representations of another shape.
        """
        if tuple(z.shape[1:]) != self.shape:
            raise InvalidInput(f"representations have shape {tuple(z.shape)}; expected {('B', *self.shape)}")
        output = z.reshape(z.shape[: self._rank]).clone()  # the next layer may work in place
        blank = z.new_zeros(1 if self._one_blank else len(z), *self._input_shape)
        with output_replaced(self._module, lambda _: output):
            return self._run(blank)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        """Compute the network's output f(x) for images in [-1, 1]."""
        return self._run(self._prepare(x))

    def exact(self, x: Float[Tensor, "batch channels height width"]) -> float:
        """The largest |decode(encode(x)) − f(x)|: 0 up to rounding errors."""
        return self._error(x, self(x))

    @property
    def _module(self) -> nn.Module:
        return self.network.layers()[self.layer]

    def _run(self, images: Tensor) -> Tensor:
        return self.network.eval()(images)  # other owners of the network may have called its `train()`

    def _prepare(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels)
        return self.preprocess(x)

    def _capture(self, images: Tensor) -> Tensor:
        def capture(output: Tensor) -> Tensor:
            raise _Captured(output.clone())  # the output may be the layer's input

        try:
            with output_replaced(self._module, capture):
                self._run(images)
        except _Captured as captured:
            return captured.output
        raise InvalidInput(f"layer {self.layer!r} was not called for images of shape {tuple(images.shape)}")

    @torch.no_grad()
    def _error(self, x: Tensor, output: Tensor) -> float:
        return (self.decode(self.encode(x)) - output).abs().max().item()

    def _check_exactness(self, probe: Tensor) -> None:
        """Choose the number of blank images for `decode`, and check that decode(encode(x)) equals f(x)."""
        output = self(probe)
        tolerance = ROUNDING * torch.finfo(probe.dtype).eps * max(1.0, output.abs().max().item())
        self._one_blank = True  # the cheapest choice
        if self._is_exact_with_one_blank(probe, output, tolerance):
            return
        self._one_blank = False
        error = self._error(probe, output)
        if not error <= tolerance:
            raise InvalidInput(
                f"layer {self.layer!r} does not determine the output: decode(encode(x)) and f(x) differ by "
                f"{error:.1e}; does the network draw random numbers?"
            )

    def _is_exact_with_one_blank(self, probe: Tensor, output: Tensor, tolerance: float) -> bool:
        try:
            return self._error(probe, output) <= tolerance
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            if is_out_of_memory(error):
                raise
            return False  # the network uses its input's batch size


def _load(model: nn.Module | str, weights: str | None, **given: Any) -> LoadedNetwork:
    return replace(
        load_network(model, weights), **{name: value for name, value in given.items() if value is not None}
    )


def _trace(network: EndpointWrapper, loaded: LoadedNetwork) -> Trace:
    probe = loaded.probe()
    try:
        return trace(network, loaded.preprocess(probe))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InvalidInput(
            f"the network does not take images of shape {tuple(probe.shape)} ({str(error).splitlines()[0]}); "
            "set in_size and in_channels"
        ) from error
