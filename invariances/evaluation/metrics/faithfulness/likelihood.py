"""The invariances v = t(z̄|z) of real images: their likelihood, and their independence of z."""

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from invariances.evaluation.metrics.faithfulness.estimate import Estimate

N_FOLDS = 5


def likelihood(v: Tensor, logdet: Tensor) -> dict[str, Tensor]:
    """`nll`: ½‖v‖² − log|det ∂v/∂z̄|, in nats; `half_v_squared`: ½v² per dimension. Each (B,).

    >>> likelihood(torch.ones(2, 4, 1, 1), torch.zeros(2))
    {'nll': tensor([2., 2.]), 'half_v_squared': tensor([0.5000, 0.5000])}
    """
    squares = v.square().flatten(1) / 2
    return {"nll": squares.sum(dim=1) - logdet, "half_v_squared": squares.mean(dim=1)}


def gaussian_nll(codes: Tensor) -> Tensor:
    """`nll` of independent Gaussians with the codes' mean and variance, a model that ignores z: (n,).

    >>> gaussian_nll(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
    tensor([0.5000, 0.5000])
    """
    codes = codes.flatten(1)
    variance, mean = torch.var_mean(codes, dim=0, correction=0)
    return ((codes - mean).square() / variance + variance.log()).sum(dim=1) / 2


def independence(v: Tensor, codes: Tensor, classes: Tensor) -> dict[str, Estimate]:
    """Accuracy of a linear probe that predicts the class from v; above chance, v is not independent of z.

    - `probe_accuracy`: of logistic regression on standardised v, by 5-fold cross-validation.
    - `probe_accuracy_code`: the same on the codes, which hold the class.
    - `probe_chance`: of always predicting the most frequent class.

    Classes with fewer images than folds are left out; with fewer than two left the result is empty.

    Args:
        v: (n, N, 1, 1).
        codes: z̄, (n, N, 1, 1).
        classes: (n,) integers.

    >>> classes = torch.arange(40) % 2
    >>> codes = (2.0 * classes - 1).reshape(40, 1, 1, 1)
    >>> independence(codes, codes, classes)["probe_accuracy"].value
    1.0
    """
    sizes = classes.bincount()
    kept = (sizes[classes] >= N_FOLDS).cpu()
    expected = classes.cpu()[kept]
    if len(expected.unique()) < 2:
        return {}
    return {
        "probe_accuracy": Estimate.mean(_probed(v.flatten(1).cpu()[kept], expected)),
        "probe_accuracy_code": Estimate.mean(_probed(codes.flatten(1).cpu()[kept], expected)),
        "probe_chance": Estimate.mean((expected == expected.mode().values).double()),
    }


def _probed(rows: Tensor, classes: Tensor) -> Tensor:
    """Whether a probe fitted to the other folds predicts the class of each row, (n,)."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(probe, rows.double().numpy(), classes.numpy(), cv=folds)
    return (torch.from_numpy(predicted) == classes).double()
