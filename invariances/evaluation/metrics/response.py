"""The effect of each factor on the class that a classifier predicts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, Evaluation, HasFactors, HasFirstStage, first_examples
from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.metrics.predicted_class import predicted_class
from invariances.evaluation.replace_factor import replace_factor
from invariances.models import Frozen, Greybox
from invariances.utils.arguments import require_at_least
from invariances.utils.images import to_uint8

N_SHOWN = 4  # images in the figure


class Response(Evaluation[HasFirstStage]):
    """Spread of the predicted class when one factor of an image is replaced by samples of N(0, 1).

    - `response_<factor>_sigma`: standard deviation of the index of the predicted class, mean over the images (CVPR
      2020, section 4, reports 2.74 for the digit, 0.19 for the colour and 0 for the residual).
    - `response_<factor>_changed`: share of the samples whose class differs from that of the unchanged image.
    - `<name>_ci`: half the 95 % confidence interval of the mean over images, by Student's t; none for one image. Four
      images, as in the paper, give wide ones.

    Writes `response.png`, the histograms of the predicted classes.

    Args:
        classifier: images -> logits, as {checkpoint: …}; without it the first stage is the classifier, and the class
            is predicted from the code.
        layer: layer of the first stage whose output is the code, where the first stage is the classifier.
        n_images: validation images whose factors are varied.
        n_draws: samples of each factor of each image.
        seed: of the samples.

    Raises:
        InvalidInput: a number is below 1.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> class Task:
        ...     device, factor_names, first_stage = torch.device("cpu"), ("first", "rest"), Frozen(nn.Identity())
        ...     code = decode = staticmethod(lambda x: x)
        ...     to_factors = staticmethod(lambda code: [code[:, :1], code[:, 1:]])
        ...     to_code = staticmethod(lambda factors: torch.cat(factors, dim=1))
        >>> with TemporaryDirectory() as folder:  # the logits are the code: both factors can change the class
        ...     numbers = Response(nn.Flatten(), n_draws=9)(Task(), [{"image": torch.zeros(2, 3, 1, 1)}], Path(folder))
        >>> [name for name in numbers if not name.endswith("_ci")]
        ['response_first_sigma', 'response_rest_sigma', 'response_first_changed', 'response_rest_changed']
    """

    needs = HasFirstStage
    legend: ClassVar[Mapping[str, str]] = {
        "response_*_sigma": "Standard deviation of the index of the predicted class when the factor is replaced by "
        "random values. 0: the prediction does not depend on the factor.",
        "response_*_changed": "Share of the random values of the factor that change the predicted class.",
    }

    def __init__(
        self,
        classifier: nn.Module | None = None,
        layer: str = "encoder",
        n_images: int = 4,
        n_draws: int = 1000,
        seed: int = 0,
    ) -> None:
        require_at_least(n_images=(n_images, 1), n_draws=(n_draws, 1))
        self.classifier = None if classifier is None else Frozen(classifier)
        self.layer, self.n_images, self.n_draws, self.seed = layer, n_images, n_draws, seed

    @torch.no_grad()
    def __call__(self, iterator: HasFirstStage, loader: Batches, folder: Path) -> dict[str, float]:
        """Measure an iterator with a flow on codes.

        Raises:
            InvalidInput: no classifier is given, and the first stage is none; its output is not logits.
        """
        images = first_examples(loader, self.n_images, iterator.device)["image"]
        logits = self._logits(iterator)
        code = iterator.code(images)
        original = logits(iterator.to_code(iterator.to_factors(code)))
        unchanged = predicted_class(original)
        varied = self._varied(iterator, logits, code)  # (B, K, n_draws)
        figure = _histograms(images, varied, iterator.factor_names, n_classes=original.shape[1])
        figure.savefig(folder / "response.png", dpi=110)
        sigma = varied.double().std(dim=2, correction=0)  # (B, K)
        changed = (varied != unchanged.view(-1, 1, 1)).double().mean(dim=2)
        numbers: dict[str, float] = {}
        for kind, each in (("sigma", sigma), ("changed", changed)):
            for name, values in zip(iterator.factor_names, each.T, strict=True):
                numbers |= _mean_over_images(f"response_{name}_{kind}", values)
        return numbers

    def _logits(self, iterator: HasFirstStage) -> Callable[[Tensor], Tensor]:
        """The map from codes to logits."""
        if self.classifier is None:
            return self._first_stage(iterator.first_stage.network)
        classifier = self.classifier.to(iterator.device)
        return lambda code: classifier(iterator.decode(code))

    def _first_stage(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        try:
            with torch.inference_mode(False):  # the layer is found in an autograd graph
                return Greybox(network, self.layer).decode
        except ValueError as error:
            raise InvalidInput(
                f"response/classifier is not given, and the first stage, {type(network).__name__}, is no classifier "
                f"that can be split at response/layer {self.layer} ({error}); give one as classifier: {{checkpoint: …}}"
            ) from error

    def _varied(self, iterator: HasFactors, logits: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
        """Predicted classes for each image, factor and sample: (B, K, n_draws)."""
        generator = torch.Generator(code.device).manual_seed(self.seed)
        classes = []
        for one in code.split(1):
            factors = iterator.to_factors(one)
            for k, e in enumerate(factors):
                shape = (self.n_draws, *e.shape[1:])
                samples = torch.randn(shape, generator=generator, device=e.device)
                classes.append(predicted_class(logits(iterator.to_code(replace_factor(factors, k, samples)))))
        return torch.stack(classes).unflatten(0, (len(code), -1))


def _mean_over_images(name: str, values: Tensor) -> dict[str, float]:
    """The mean (B,) -> 1, and half its interval."""
    return {name: values.mean().item()} | Estimate.mean(values).numbers(name)


def _histograms(images: Tensor, varied: Tensor, names: tuple[str, ...], n_classes: int) -> Figure:
    """A row for each image: the image, then for each factor a histogram of the predicted classes."""
    n_rows = min(N_SHOWN, len(images))
    figure = Figure(figsize=(1.6 + 2.4 * len(names), 1.5 * n_rows + 0.3), layout="constrained")
    ratios = [0.6, *[1] * len(names)]
    axes = figure.subplots(n_rows, len(names) + 1, squeeze=False, gridspec_kw={"width_ratios": ratios})
    for row in range(n_rows):
        pixels = to_uint8(images[row : row + 1])[0].permute(1, 2, 0).cpu().numpy()
        axes[row, 0].imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes[row, 0].set_axis_off()
        for axis, name, classes in zip(axes[row, 1:], names, varied[row].cpu().numpy(), strict=True):
            axis.bar(range(n_classes), np.bincount(classes, minlength=n_classes) / len(classes))
            axis.set_ylim(0, 1)
            axis.set_title(f"{name}: σ = {classes.std():.2f}", fontsize=9)
            axis.spines[["top", "right"]].set_visible(False)
    return figure
