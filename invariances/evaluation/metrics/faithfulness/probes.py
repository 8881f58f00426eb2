"""Probes of the class: is v independent of what z holds?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from invariances.evaluation.metrics.estimate import Estimate

N_FOLDS = 5
N_PERMUTED = 100
MAX_IMAGES = 2000  # systems of as many equations are solved

Smoother = Callable[[Tensor, Tensor], Tensor]  # centred rows (n, N), others (m, N) -> (m, n)


def independence(
    v: Tensor, codes: Tensor, classes: Tensor, seed: int = 0
) -> tuple[dict[str, Estimate], dict[str, float]]:
    """Accuracy of probes that predict the class from v; above chance, v is not independent of z.

    All are balanced accuracies in 5-fold cross-validation, means over the classes of the share of the class's images
    that is predicted right: whatever the sizes of the classes, chance is 1/classes. For the probes see `_predicted`.

    The first 2,000 images are used. Classes with fewer images than folds are left out; with fewer than two left the
    results are empty.

    Args:
        v: (n, N, 1, 1).
        codes: z̄, (n, N, 1, 1).
        classes: (n,) integers.
        seed: of folds and permutations.

    Returns:
        accuracies: `probe_accuracy`, of a linear probe on v; `probe_accuracy_nonlinear`, of one with a Gaussian kernel;
            `probe_accuracy_code`, of a linear probe on the codes, which hold the class.
        chance: `probe_chance`, mean accuracy of the linear probe for 100 permutations of the classes;
            `probe_chance_95` and `probe_chance_nonlinear_95`, 95 % quantile of the accuracies of each of the two probes
            for these: a higher accuracy shows that v depends on the class.

    >>> classes = torch.arange(40) % 2
    >>> codes = (2.0 * classes - 1).reshape(40, 1, 1, 1)
    >>> accuracies, chance = independence(codes, codes, classes)
    >>> accuracies["probe_accuracy"].value, abs(chance["probe_chance"] - 0.5) < 0.1
    (1.0, True)
    """
    v, codes, classes = (each[:MAX_IMAGES].detach().cpu() for each in (v, codes, classes))
    kept = classes.bincount()[classes] >= N_FOLDS
    labels = classes[kept].unique(return_inverse=True)[1]
    if len(labels.unique()) < 2:
        return {}, {}
    folds = _Folds.of(labels, torch.Generator().manual_seed(seed))
    linear, nonlinear = (folds.accuracies(v[kept], smoother) for smoother in (_linear, _gaussian))
    of_codes = folds.accuracies(codes[kept], _linear, n_permuted=0)
    return {
        "probe_accuracy": linear[0],
        "probe_accuracy_nonlinear": nonlinear[0],
        "probe_accuracy_code": of_codes[0],
    }, {
        "probe_chance": linear[1].mean().item(),
        "probe_chance_95": linear[1].quantile(0.95).item(),
        "probe_chance_nonlinear_95": nonlinear[1].quantile(0.95).item(),
    }


def _linear(train: Tensor, test: Tensor, ridge: float = 300.0) -> Tensor:
    """Weights (m, n) by which ridge regression predicts y of other rows from y of rows."""
    if len(train) < train.shape[1]:
        return _kernel_weights(train @ train.T, test @ train.T, ridge)
    covariance = train.T @ train + ridge * torch.eye(train.shape[1], dtype=train.dtype)
    return test @ torch.cholesky_solve(train.T, torch.linalg.cholesky(covariance))


def _gaussian(train: Tensor, test: Tensor, ridge: float = 1.0) -> Tensor:
    """The same with the kernel exp(−‖x − y‖²/N), that of scikit-learn's SVC for standardised rows."""
    gram, cross = ((-torch.cdist(rows, train).square() / train.shape[1]).exp() for rows in (train, test))
    cross = cross - cross.mean(dim=1, keepdim=True) - gram.mean(dim=0) + gram.mean()
    gram = gram - gram.mean(dim=0) - gram.mean(dim=1, keepdim=True) + gram.mean()
    return _kernel_weights(gram, cross, ridge)


def _kernel_weights(gram: Tensor, cross: Tensor, ridge: float) -> Tensor:
    """Weights cross (gram + ridge)⁻¹ for kernels between rows (n, n), and between others and rows (m, n)."""
    factor = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram), dtype=gram.dtype))
    return torch.cholesky_solve(cross.T, factor).T


@dataclass(frozen=True)
class _Folds:
    """Images divided at random into folds with the same share of each class.

    Attributes:
        fold: of each image, (n,) in 0 … 4.
        labels: classes 0 … C − 1, (1 + N_PERMUTED, n): the true ones, and permutations within the folds.
    """

    fold: Tensor
    labels: Tensor

    @classmethod
    def of(cls, labels: Tensor, generator: torch.Generator) -> _Folds:
        """Divide images, and permute their labels."""
        n = len(labels)
        shuffled = torch.randperm(n, generator=generator)
        fold = torch.empty_like(labels)
        fold[shuffled[labels[shuffled].argsort(stable=True)]] = torch.arange(n) % N_FOLDS
        by_fold = fold.argsort(stable=True)
        permuted = torch.empty(1 + N_PERMUTED, n, dtype=labels.dtype)
        random = torch.rand(1 + N_PERMUTED, n, generator=generator) + fold  # sorted, folds stay together
        permuted[:, by_fold] = labels[random.argsort(dim=1)]
        permuted[0] = labels
        return cls(fold, permuted)

    def accuracies(self, rows: Tensor, smoother: Smoother, n_permuted: int = N_PERMUTED) -> tuple[Estimate, Tensor]:
        """Balanced accuracy of a probe on rows (n, …) for the true labels, and for each permutation of them."""
        labels, rows = self.labels[: 1 + n_permuted], rows.flatten(1).double()
        predicted = torch.empty_like(labels)
        for fold in range(N_FOLDS):
            test = self.fold == fold
            predicted[:, test] = _predicted(rows[~test], labels[:, ~test], rows[test], smoother)
        right = (predicted == labels).double()
        of_class = functional.one_hot(labels).double()  # (P, n, C)
        by_class = (right[..., None] * of_class).sum(dim=1) / of_class.sum(dim=1)  # (P, C)
        influence = ((right[0][:, None] - by_class[0]) * of_class[0] / of_class[0].mean(dim=0)).mean(dim=1)
        return Estimate(by_class[0].mean().item(), influence).cross_validated(), by_class[1:].mean(dim=1)


def _predicted(train: Tensor, labels: Tensor, test: Tensor, smoother: Smoother) -> Tensor:
    """Classes (P, m) that ridge regression on P labellings (P, n) of rows (n, N) predicts for others (m, N).

    With f_c(x) the regression of the indicator of class c, an estimate of p(c|x), it is the class with the largest
    f_c(x)/p(c), the most likely one if all were equally frequent. All labellings share one solution of the normal
    equations (Hastie, Tibshirani & Friedman 2009, "The elements of statistical learning", sections 4.2 and 5.8).
    """
    std, mean = torch.std_mean(train, dim=0)
    train, test = ((each - mean) / std.clamp(min=1e-12) for each in (train, test))
    indicator = functional.one_hot(labels).double()  # (P, n, C)
    share = indicator.mean(dim=1)  # (P, C)
    flat = (indicator - share[:, None]).transpose(0, 1).flatten(1)  # (n, P C)
    scores = (smoother(train, test) @ flat).unflatten(1, share.shape) / share  # (m, P, C)
    return scores.argmax(dim=2).T
