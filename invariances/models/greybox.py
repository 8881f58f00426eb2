"""A network under study, split in two at a layer."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.models.checks import check_images
from invariances.models.pretrained import LoadedNetwork, Model, Size, load_network
from invariances.models.splitting import (
    EndpointWrapper,
    Layer,
    layout_at,
    split_calls,
    splittable_layers,
    why_not_readable,
    why_not_splittable,
)
from invariances.models.studied.layer_names import HOW_TO_LIST, layer_name
from invariances.models.studied.layout import Tokens, Vector, shape_of
from invariances.models.studied.preprocess import Preprocess
from invariances.models.studied.replaying import (
    output_of,
    precision_of,
    replayed,
    run,
    tolerance,
    why_not_by_values,
)
from invariances.models.studied.tracing import Trace, evaluating, trace
from invariances.utils.memory import is_out_of_memory
from invariances.utils.weights import digest

log = logging.getLogger(__name__)


class Greybox(nn.Module):
    """A network f = Ψ∘Φ split at a layer: `encode` is Φ, `decode` is Ψ (ECCV 2020, section 3).

    The network's own forward pass is run, including function calls such as flattening; only the layer's output is
    read or replaced. `encode` ends there. `decode` runs the preceding layers on one blank image, or on as many as
    there are representations if the network uses the batch size of its input.

    The network is frozen: its parameters' `requires_grad` is set to False, and it stays in eval mode also when
    its owner calls `train()`. Gradients flow through `encode` and `decode` to their inputs. A network in half
    precision computes in it; representations and outputs have the precision of the images.

    Args:
        model: an `nn.Module`, "torchvision:alexnet", "timm:resnet18", or the import path of a module, or of a
            class or function that returns one; with arguments as {"class": NAME, argument: value}.
        layer: name of a submodule, or in the papers (AlexNet: conv5, fc6 …), or `input` (the preprocessed image), or
            `softmax` (of the output; f(x) are probabilities then).
        weights: name of pretrained weights for torchvision and timm models, or a file with a state dict; by default
            those that the model has or is made with, which are random, and warned of.
        preprocess: maps images in [-1, 1] to the network's input. By default that of torchvision and timm models,
            as their weights state it; none for others. Or settings of `Preprocess` that differ from it.
        in_size, in_channels: side, or [height, width], and channels of the images with which the network is traced;
            by default the model's attributes of these names, or those of torchvision or timm, or 224 and 3.
        tokens: what to take of a layer that gives the tokens of a transformer: all (as (C, N, 1)), cls (the class
            token), patches (as a map), or mean (of the patches), the last two without class and register tokens.
        split_idx: number of the layer in the papers' software, in place of `layer`.
        weights_partial: whether weights may be missing in the file, which is warned of.
        exact: whether the layer must determine the output. If not, it may be any layer; where it does not, it is a
            representation alone, which is warned of, and `decode` is refused.

    Attributes:
        layer: the layer's dotted name.
        shape: (C, H, W) of the representation.
        depth: number of layers before this one at which the network could be split.
        splits: whether the layer determines the output.
        cautions: what a reader of results has to know, a line each: random or partial weights, no split.

    Raises:
        InvalidInput: no such model, weights or layer; a layer that does not determine the output.
        TypeError: images that are not floating point.
        UserError: weights that cannot be downloaded or read, or do not fit.

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
        model: Model,
        layer: str | None = None,
        weights: str | Path | None = None,
        preprocess: Callable[[Tensor], Tensor] | Mapping[str, Any] | None = None,
        in_size: Size | None = None,
        in_channels: int | None = None,
        tokens: Literal["all", "cls", "patches", "mean"] | None = None,
        split_idx: int | None = None,
        weights_partial: bool = False,
        exact: bool = True,
    ) -> None:
        loaded = load_network(model, weights, weights_partial).adapted(preprocess, in_size, in_channels)
        super().__init__()
        self.in_size, self.in_channels, self.cautions = loaded.in_size, loaded.in_channels, list[str]()
        self.layer = _layer_name(loaded.network, layer, split_idx)
        self.network, self.preprocess = EndpointWrapper(loaded.network, self.layer == "softmax"), loaded.preprocess
        self.requires_grad_(False).eval()
        traced = _trace(self.network, loaded)
        self._layout = _layout(self._module, self._title, traced, tokens)
        self.shape = shape_of(self._layout.read(traced.of(self._module)[0].output))
        self._input_shape = traced.input.shape[1:]
        self._settings = _described(self.preprocess, loaded.probe())
        self.splits = self._determines_output(loaded, traced, exact)
        self.depth = self._depth(loaded, traced)
        for text in loaded.cautions:
            self.caution(text)

    @staticmethod
    def layers(
        model: Model,
        preprocess: Callable[[Tensor], Tensor] | Mapping[str, Any] | None = None,
        in_size: Size | None = None,
        in_channels: int | None = None,
    ) -> list[Layer]:
        """The layers at which a network can be split, from input to output.

        They are found in one forward pass; if it leaves the autograd graph somewhere, in one more for each layer.

        Args:
            model, preprocess, in_size, in_channels: see the class.

        Raises:
            InvalidInput: no such model, or it does not take images of this shape.
        """
        return listed_layers(load_network(model).adapted(preprocess, in_size, in_channels))

    def caution(self, text: str) -> None:
        """Log what a reader of results has to know, and keep it in `cautions`."""
        log.warning("%s", text)
        self.cautions.append(text)

    def train(self, mode: bool = True) -> "Greybox":
        """Stay in eval mode."""
        return super().train(False)

    @property
    def studied(self) -> nn.Module:
        """The whole network under study."""
        return self.network.network

    def extra_repr(self) -> str:
        """The layer and the shape of the representation, and what else it depends on."""
        tokens = f", tokens={self._layout.tokens!r}" if self._layout.tokens else ""
        return f"layer={self.layer!r}, shape={self.shape}{tokens}{self._settings}"

    def encode(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch z_channels z_height z_width"]:
        """Compute the representation z = Φ(x) of images in [-1, 1]; (B, C, 1, 1) if the layer returns vectors.

        Raises:
            InvalidInput: images of a size for which the representation has another shape.
        """
        z = self._layout.read(output_of(self.network, self._module, self._prepare(x), self._title))
        if shape_of(z) != self.shape:
            raise InvalidInput(
                f"images of shape {tuple(x.shape)} have a representation of shape {shape_of(z)}; expected "
                f"{self.shape}, use images of {self.in_size} pixels"
            )
        return z.to(torch.promote_types(x.dtype, z.dtype))

    def decode(self, z: Float[Tensor, "batch z_channels z_height z_width"]) -> Tensor:
        """Compute the network's output for representations, Ψ(z), shaped as that of `forward`.

        Raises:
            InvalidInput: representations of another shape, or a layer that does not determine the output.
        """
        if tuple(z.shape[1:]) != self.shape:
            raise InvalidInput(f"representations have shape {tuple(z.shape)}; expected {('B', *self.shape)}")
        if not self.splits:
            raise InvalidInput(f"{self._title} does not determine the output, which has to be computed from images")
        blank = z.new_zeros(1 if self._one_blank else len(z), *self._input_shape)
        return self._decode(z, blank.to(precision_of(self.network, blank)))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        """Compute the network's output f(x) for images in [-1, 1]."""
        output = run(self.network, self._prepare(x))
        return output.to(torch.promote_types(x.dtype, output.dtype))

    def exact(self, x: Float[Tensor, "batch channels height width"]) -> float:
        """The largest |decode(encode(x)) − f(x)|: 0 up to rounding errors."""
        return self._error(x, self(x))

    @property
    def _module(self) -> nn.Module:
        return self.network.layers()[self.layer]

    @property
    def _title(self) -> str:
        return f"layer {self.layer!r}"

    def _prepare(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels)
        images = self.preprocess(x)
        return images.to(precision_of(self.network, images))

    def _decode(self, z: Tensor, images: Tensor) -> Tensor:
        """The output for representations, with the preceding layers run on these images."""
        output = replayed(self.network, self._module, self._layout, z, images)
        return output.to(torch.promote_types(z.dtype, output.dtype))

    @torch.no_grad()
    def _error(self, x: Tensor, output: Tensor) -> float:
        return (self.decode(self.encode(x)) - output).abs().max().item()

    def _determines_output(self, loaded: LoadedNetwork, traced: Trace, required: bool) -> bool:
        """Whether decode(encode(x)) equals f(x); if it must not differ, refuse a layer where it does."""
        reason = why_not_splittable(self._module, traced) or why_not_by_values(
            self.network, self._module, self._layout, self._prepare(loaded.probe()), self._prepare(loaded.probe(1))
        )
        if reason is None:
            self._choose_blank(loaded.probe())
        elif required:
            raise InvalidInput(f"{self._title} {self._chosen(reason)}; {_remedy(self._layout)}{HOW_TO_LIST}")
        else:
            self.caution(f"{self._title} is a representation and no split: it {self._chosen(reason)}")
        return reason is None

    def _chosen(self, reason: str) -> str:
        tokens = self._layout.tokens
        return f"with tokens: {tokens} {reason}" if tokens and not reason.startswith("is ") else reason

    def _choose_blank(self, probe: Tensor) -> None:
        """Choose the number of blank images for `decode`: one, unless the network uses the batch size of its input."""
        output = self(probe)
        self.splits, self._one_blank = True, True
        try:
            self._one_blank = self._error(probe, output) <= tolerance(output, precision_of(self.network, probe))
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            if is_out_of_memory(error):
                raise
            self._one_blank = False

    def _depth(self, loaded: LoadedNetwork, traced: Trace) -> int:
        modules = [call.module for call in traced.calls]
        before = set(modules[: modules.index(self._module)])
        found = [name for name, call in split_calls(self.network, traced) if call.module in before]
        return sum(_holds(self.network, name, traced, loaded) for name in found)


def listed_layers(loaded: LoadedNetwork) -> list[Layer]:
    """The layers at which a network can be split, see `Greybox.layers`."""
    network = EndpointWrapper(loaded.network, softmax=True)
    traced = _trace(network, loaded)
    found = splittable_layers(network, traced)
    return [layer for layer in found if _holds(network, layer.name, traced, loaded, layer.tokens)]


def _layer_name(network: nn.Module, layer: str | None, split_idx: int | None) -> str:
    known = EndpointWrapper(network, softmax=False).layers()
    return layer_name(network, known, layer, split_idx)


def _trace(network: EndpointWrapper, loaded: LoadedNetwork) -> Trace:
    probe = loaded.probe()
    try:
        images = loaded.preprocess(probe)
        return trace(network, images.to(precision_of(network, images)))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InvalidInput(
            f"the network does not take images of shape {tuple(probe.shape)} ({str(error).splitlines()[0]}); "
            "set in_size and in_channels, or --size and --channels; in_size may be [height, width]"
        ) from error


def _layout(module: nn.Module, title: str, traced: Trace, tokens: str | None) -> Vector:
    """How the layer's output is read, with the choice of tokens."""
    if reason := why_not_readable(module, traced):
        raise InvalidInput(f"{title} {reason}; {HOW_TO_LIST}")
    layout = layout_at(module, traced)
    if tokens is None or layout is None:
        return layout or Vector()
    choices = {choice.tokens: choice for choice in layout.choices()} if isinstance(layout, Tokens) else {}
    if tokens not in choices:
        expected = f"expected {', '.join(map(str, choices))}" if choices else "it has no tokens, leave out tokens"
        shape = traced.of(module)[0].returned
        raise InvalidInput(f"{title} returns a tensor of shape {shape}, which has no tokens: {tokens}; {expected}")
    return choices[tokens]


def _holds(
    network: EndpointWrapper, name: str, traced: Trace, loaded: LoadedNetwork, tokens: str | None = None
) -> bool:
    """Whether a network can be split at a layer by values as well; the graph is believed if nothing left it."""
    if not traced.hidden:
        return True
    module = network.layers()[name]
    images, others = (loaded.preprocess(loaded.probe(seed)) for seed in (0, 1))
    dtype = precision_of(network, images)
    with evaluating(network):
        layout = _layout(module, name, traced, tokens)
        return why_not_by_values(network, module, layout, images.to(dtype), others.to(dtype)) is None


def _remedy(layout: Vector) -> str:
    return "use tokens: all, or exact: false for a representation without decode; " if layout.tokens else ""


def _described(preprocess: Callable[[Tensor], Tensor], probe: Tensor) -> str:
    """What tells one preprocessing from another, where its settings are not printed with the network."""
    if isinstance(preprocess, Preprocess | nn.Identity):
        return ""
    return f", preprocess={digest('', {'probe': preprocess(probe).float().round(decimals=3)})}"
