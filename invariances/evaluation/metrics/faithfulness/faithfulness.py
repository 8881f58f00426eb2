"""Faithfulness of a conditional INN, as an evaluation and as a function."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from invariances.errors import InvalidInput
from invariances.evaluation.base import Batches, Evaluation, HasConditionalFlow
from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.metrics.faithfulness.calibration import calibration, prediction_error, rank_chi2
from invariances.evaluation.metrics.faithfulness.encoded import (
    EncodedImages,
    GeneratedImages,
    Networks,
    neighbours,
    references,
    require_finite,
)
from invariances.evaluation.metrics.faithfulness.legend import LEGEND
from invariances.evaluation.metrics.faithfulness.likelihood import gaussian_nll, likelihood
from invariances.evaluation.metrics.faithfulness.predictions import network_accuracy, predicted_classes
from invariances.evaluation.metrics.faithfulness.probes import independence
from invariances.evaluation.metrics.faithfulness.retrieval import Gallery, retrieval
from invariances.evaluation.metrics.faithfulness.similarity import mean_similarities, similarities
from invariances.evaluation.metrics.faithfulness.variation import Factors, hue_coverage, shares, spread, variation
from invariances.evaluation.random_indices import random_examples
from invariances.models import Frozen
from invariances.models.studied.tracing import evaluating
from invariances.utils.arguments import require_at_least


class FactorFlow(Protocol):
    """A disentangling INN, such as `FactorTransformer`.

    Attributes:
        sizes: channels of each factor, the residual last.
    """

    sizes: Sequence[int]

    def __call__(self, code: Tensor) -> tuple[list[Tensor], Tensor]:
        """Codes (B, N, 1, 1) -> factors, each (B, N_k, 1, 1), and log-determinants (B,)."""


class Faithfulness(Evaluation[HasConditionalFlow]):
    """Faithfulness of a cINN on the validation split: see `faithfulness`.

    Args:
        n_images: number of validation images, at least 2, a random subset; null for all.
        n_samples: samples per image, at least 2.
        batch_size: images at a time.
        seed: of the subset of images, of codes and samples.
        factors: a disentangling INN of the same autoencoder's codes, as {checkpoint: …}.
        factor_names: their names, the residual last; their indices by default.

    Raises:
        InvalidInput: a number is too small.

    Example: see `faithfulness`; in a config it is `evaluation: {faithfulness: {n_images: 1000}}`.

        >>> Faithfulness(n_samples=1)
        Traceback (most recent call last):
        invariances.errors.InvalidInput: n_samples is 1; expected 2 or more
    """

    needs = HasConditionalFlow
    legend = LEGEND

    def __init__(
        self,
        n_images: int | None = 1000,
        n_samples: int = 8,
        batch_size: int = 50,
        seed: int = 0,
        factors: nn.Module | None = None,
        factor_names: Sequence[str] | None = None,
    ) -> None:
        require_at_least(n_samples=(n_samples, 2), batch_size=(batch_size, 1))
        if n_images is not None:
            require_at_least(n_images=(n_images, 2))
        self.n_images, self.n_samples, self.batch_size, self.seed = n_images, n_samples, batch_size, seed
        self.factors, self.factor_names = None if factors is None else Frozen(factors), factor_names

    def __call__(self, iterator: HasConditionalFlow, loader: Batches, folder: Path) -> dict[str, float]:
        """Measure an iterator with a cINN, a greybox, an autoencoder, and perhaps a baseline."""
        batch = random_examples(loader, self.n_images, iterator.device, self.seed)
        return faithfulness(
            iterator.model,
            iterator.greybox.network,
            iterator.autoencoder.network,
            batch["image"],
            n_samples=self.n_samples,
            batch_size=self.batch_size,
            seed=self.seed,
            classes=batch.get("class"),
            baseline=iterator.baseline,
            factors=None if self.factors is None else self.factors.to(iterator.device).network,
            factor_names=self.factor_names,
        )


@torch.no_grad()
def faithfulness(
    cinn: nn.Module,
    greybox: nn.Module,
    autoencoder: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    n_samples: int = 8,
    batch_size: int = 50,
    seed: int = 0,
    classes: Int[Tensor, " batch"] | None = None,
    baseline: nn.Module | None = None,
    factors: nn.Module | None = None,
    factor_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Measure how faithful samples x̃ = D(t⁻¹(v|z)), v ~ N(0, 1), are to z = Φ(x), and how much else they vary.

    Similarity in the representation, means over samples and images:

    - `cosine`, `pearson`, `spearman`: of Φ(x̃) and z (Spearman's of one sample of each image). The cosine of two zero
      vectors is 1, of one and another vector 0; a constant vector counts as zero in correlations, which are left out
      where z has one dimension.
    - `relative_l2`: ‖Φ(x̃) − z‖, over the root mean square norm of the images' z; left out if all z are 0.
    - `retrieval_rank`, `retrieval_mrr`: rank of x among the images, by the distance of their z to Φ(x̃); 1 / rank. Those
      at the same distance share their ranks.
    - `class_agreement`, `class_agreement_top5`: share of the samples whose first class, or one of whose first five,
      is the first of x; the latter where there are more than 5. Of equal logits the first counts as the largest.
    - `hue_agreement`: cos(hue(x̃) − hue(x)), where both have a hue; 0 if hues are independent.

    The same with other images in place of x̃: `_random`, `_nearest` (by cosine) and `_negative` (the nearest with
    another label, where `classes` are given), other images of the set; `_autoencoder`, the reconstruction; `_mean`, the
    decoded mean code; `_mlp`, the decoded prediction of `baseline`.

    - `diversity`: variance over the samples of one x, over the variance of the images; means over pixels. 0 where
      samples are all the same; 1 where they vary as much as the data. 0 for `_mlp` and `_mean`.
    - `agreement_times_diversity`: `class_agreement` × `diversity`.
    - `pairwise_distance`: distance of two samples of one x, over that of two images.
    - `variance_explained_by_v`: E_z[Var_v t⁻¹(v|z)] / Var z̄, of the variance summed over channels, as the flow claims.
    - `factor_<name>_explained_by_z`: 1 − E_z[Var_v e_i] / Var e_i of the factors e(z̄) of `factors`, also a claim.
    - `residual_variance`, `factor_<name>_residual`: measured on real images, see `residual_variance`;
      `residual_variance_mlp`: error of the code that `baseline` predicts, see `prediction_error`.
    - `spread_skill`, `rank_chi2`, `energy_skill`, `c2st`: calibration of the flow, see the functions of these names.
    - `hue_distance`, `hue_distance_random`, `hue_distance_random_95`, `hue_grey_…`: see `hue_coverage`.
    - `nll`: −log p(z̄|z) of the codes without the constant N/2·log 2π; `nll_gaussian`: see `gaussian_nll`.
    - `half_v_squared`: ½v² per dimension; ½ for v ~ N(0, 1).
    - `probe_accuracy`, `probe_accuracy_nonlinear`, `probe_accuracy_code`, `probe_chance`, `probe_chance_95`,
      `probe_chance_nonlinear_95`: of the class from v, see `independence`.
    - `network_accuracy`: share of the images whose predicted class is that of `classes`; `predicted_classes`: number
      of different classes that are predicted. If it is 1, a warning is logged.

    All networks run in evaluation mode and are set back to their mode afterwards.

    Args:
        cinn: `ConditionalTransformer`.
        greybox: `Greybox`, Φ = encode, Ψ = decode.
        autoencoder: `Autoencoder`.
        images: at least 2, in [-1, 1], on the networks' device.
        n_samples: samples per image, at least 2.
        batch_size: images at a time.
        seed: of codes and samples.
        classes: labels for `_negative`, the network's accuracy and the probe; the probe's default are the predicted
            classes.
        baseline: z -> code, such as an `MLP`.
        factors: `FactorTransformer` on codes of this autoencoder.
        factor_names: their names; indices by default.

    Returns:
        name -> estimate, and `<name>_ci` -> half the width of its 95 % confidence interval over the images. It covers
        other images, not other trainings. Levels of chance, `rank_chi2` and `predicted_classes` have none. Class
        agreement, retrieval and hue agreement have lopsided ones, from `<name>_low` to `<name>_high`.

    Raises:
        InvalidInput: fewer than 2 images or samples; names that do not fit the factors; values that are not finite
            in images, samples or the outputs of the networks (says how many).

    Example: a network that keeps the first of three pixels, and a flow that knows it and draws the others from N(0, 1)

        >>> from invariances.models import DiagonalGaussian
        >>> class FirstPixel(nn.Module):
        ...     def encode(self, x): return x[:, :1]
        ...     def decode(self, z): return torch.cat([z, -z], dim=1).flatten(1)
        >>> class Pixels(nn.Module):
        ...     def encode(self, x): return DiagonalGaussian(x, torch.zeros_like(x), deterministic=True)
        ...     def decode(self, code): return code
        >>> class Exact(nn.Module):
        ...     def forward(self, code, z): return code, torch.zeros(len(code))
        ...     def sample(self, z, n, generator):
        ...         others = torch.randn((len(z), n, 2, 1, 1), generator=generator)
        ...         return torch.cat([z[:, None].expand(-1, n, -1, -1, -1), others], dim=2)
        >>> images = torch.randn(200, 3, 1, 1, generator=torch.Generator().manual_seed(0))
        >>> found = faithfulness(Exact(), FirstPixel(), Pixels(), images)
        >>> found["class_agreement"], round(found["diversity"], 1)  # two of three pixels vary
        (1.0, 0.7)
    """
    if len(images) < 2:
        raise InvalidInput(f"got {len(images)} image(s); expected at least 2")
    require_at_least(n_samples=(n_samples, 2), batch_size=(batch_size, 1))
    generator = torch.Generator(images.device).manual_seed(seed)
    networks, named = Networks.of(cinn, greybox, autoencoder, baseline), _naming(factors, factor_names)
    with evaluating(*(network for network in (cinn, greybox, autoencoder, baseline, factors) if network is not None)):
        real = EncodedImages.of(images, networks, batch_size, generator)
        others, gallery = neighbours(real, seed, classes), Gallery.of(real.z)
        batches = torch.arange(len(images), device=images.device).split(batch_size)
        measured = _Measured.joined(
            _measure(real, indices, others, gallery, networks, n_samples, named, generator)
            for indices in tqdm(batches, desc="faithfulness", unit="batch", leave=False, disable=None)
        )
        data = spread(real, others["random"], named)
        predicted = None if baseline is None else torch.cat([baseline(z) for z in real.z.split(batch_size)])
    accuracies, chance = independence(measured.v, real.codes, real.logits.argmax(1) if classes is None else classes)
    estimates = {
        **mean_similarities(measured.numbers, measured.influence, real.z, others),
        "nll_gaussian": Estimate.mean(gaussian_nll(real.codes)),
        **shares(measured.variation, data, others["random"]),
        **calibration(real, measured.samples, named),
        **accuracies,
        **network_accuracy(real.logits, classes),
    }
    if predicted is not None:
        estimates["residual_variance_mlp"] = prediction_error(real.codes, predicted)
    if "class_agreement" in estimates:
        estimates["agreement_times_diversity"] = estimates["class_agreement"] * estimates["diversity"]
    flat = {key: value for name, each in estimates.items() for key, value in each.numbers(name).items()}
    flat |= {"rank_chi2": rank_chi2(real.codes, measured.samples, seed)}
    flat |= chance | predicted_classes(real.logits) | hue_coverage(images, measured.hues, seed)
    return flat | _zeros(baseline is not None)


@dataclass(frozen=True)
class _Measured:
    """Measurements of a batch, a row for each image.

    Attributes:
        numbers: name -> (B,).
        influence: name -> (2, n), what each image adds to a number of the others, see `Retrieval`.
        variation: of its samples, see `variation`.
        v: (B, N, 1, 1).
        samples: codes of its samples, (B, k, N, 1, 1).
        hues: of its samples, (B, k); (B, 0) for grey images.
    """

    numbers: dict[str, Tensor]
    influence: dict[str, Tensor]
    variation: dict[str, Tensor]
    v: Tensor
    samples: Tensor
    hues: Tensor

    @classmethod
    def joined(cls, batches: Iterable["_Measured"]) -> "_Measured":
        parts = list(batches)
        numbers, variation = (
            {name: torch.cat([getattr(part, kind)[name] for part in parts]) for name in getattr(parts[0], kind)}
            for kind in ("numbers", "variation")
        )
        influence = {name: torch.stack([part.influence[name] for part in parts]).sum(0) for name in parts[0].influence}
        rows = (torch.cat([getattr(part, kind) for part in parts]) for kind in ("v", "samples", "hues"))
        return cls(numbers, influence, variation, *rows)


def _measure(
    real: EncodedImages,
    indices: Tensor,
    others: dict[str, Tensor],
    gallery: Gallery,
    networks: Networks,
    n_samples: int,
    factors: Factors,
    generator: torch.Generator,
) -> _Measured:
    """Sample a batch, and measure the samples and their references."""
    batch = real[indices]
    v, logdet = networks.cinn(batch.codes, batch.z)
    require_finite("real images", v=v, logdet=logdet)
    samples = GeneratedImages.of(networks.cinn.sample(batch.z, n_samples, generator), networks, "samples")
    sets = {"": samples} | {f"_{name}": each for name, each in references(real, indices, others, networks).items()}
    numbers, influence = likelihood(v, logdet), dict[str, Tensor]()
    for suffix, generated in sets.items():
        found = retrieval(generated, indices, gallery)
        measured = similarities(batch, generated, gallery.norm) | found.numbers
        numbers |= {f"{name}{suffix}": values for name, values in measured.items()}
        influence |= {f"{name}{suffix}": values for name, values in found.influence.items()}
    return _Measured(numbers, influence, variation(samples, factors), v, samples.codes, samples.hues)


def _naming(network: nn.Module | None, names: Sequence[str] | None) -> Factors:
    """Codes -> `factor_<name>` -> (B, N_k, 1, 1); nothing without a network."""
    if network is None:
        return lambda codes: {}
    flow = cast(FactorFlow, network)
    keys = [f"factor_{name}" for name in names or range(len(flow.sizes))]
    if not len(keys) == len(set(keys)) == len(flow.sizes):
        expected = f"{len(flow.sizes)} different names, the residual last"
        raise InvalidInput(f"factor_names is {list(names or ())}; expected {expected}")
    return lambda codes: dict(zip(keys, flow(codes)[0], strict=True))


def _zeros(baseline: bool) -> dict[str, float]:
    """The diversity of references with one image each."""
    suffixes = ("mlp", "mean") if baseline else ("mean",)
    return {f"{name}_{suffix}": 0.0 for name in ("diversity", "agreement_times_diversity") for suffix in suffixes}
