import re

import jaxtyping
import pytest
import torch

from invariances.evaluation.metrics.dimensions import DimensionEstimator, estimate_dimensions
from tests import golden


def pairs(n=2000, sizes=(3, 4), n_channels=10, seed=0):
    """Codes of N(0, 1) whose pairs agree in the channels of one factor; channels in the factors' order."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.arange(n) % len(sizes)
    a, b = (torch.randn(n, n_channels, generator=generator, dtype=torch.float64) for _ in range(2))
    start = 0
    for index, size in enumerate(sizes):
        shared = slice(start, start + size)
        b[factor == index, shared] = a[factor == index, shared]
        start += size
    return factor, a, b


@pytest.mark.parametrize("name", ["dimensions_0", "dimensions_1", "dimensions_2"])
def test_golden_values(name):
    about, values = golden.entry(name), golden.load(name)
    assert about["residual_index"] == about["n_factors"] - 1
    sizes, scores = estimate_dimensions(
        values["factor"], values["example1"], values["example2"], about["n_factors"]
    )
    assert sizes == values["dimensions"].tolist()
    assert scores[-1] == 1


def test_scores_are_the_share_of_common_channels():
    sizes, scores = estimate_dimensions(*pairs(n=20000), n_factors=3)
    assert scores == pytest.approx([0.3, 0.4, 1], abs=0.02)
    expected = torch.tensor([0.3, 0.4, 1]).softmax(0) * 10  # 2.42, 2.68, 4.89
    assert sizes[:2] == expected[:2].int().tolist() and sum(sizes) == 10


def test_scores_by_hand():
    factor = torch.tensor([0, 0, 1])
    a = torch.tensor([[1.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    b = torch.tensor([[1.0, 0.0], [3.0, 2.0], [-1.0, 3.0]])
    # mean codes (2, 1) and (0, 2); channel by channel, pair by pair
    first = ((-1) * (-1) + 1 * 1) / 2 + (1 * (-1) + (-1) * 1) / 2
    second = 1 * (-1) + (-1) * 1
    # the six values of each channel: 1 3 1 1 3 -1 and 2 0 1 0 2 3
    variance = (22 / 6 - (8 / 6) ** 2) + (18 / 6 - (8 / 6) ** 2)
    sizes, scores = estimate_dimensions(factor, a, b, n_factors=3)
    assert scores == pytest.approx([first / variance, second / variance, 1])
    assert sum(sizes) == 2


def test_equal_examples_share_everything():
    a = torch.randn(50, 9).repeat_interleave(2, 0)  # both factors see the same codes
    sizes, scores = estimate_dimensions(torch.arange(100) % 2, a, a, n_factors=3)
    assert scores == pytest.approx([1, 1, 1], rel=1e-9)
    assert sizes[2] >= 3 and sum(sizes) == 9  # a score a hair under 1 may round down


def test_batches_give_what_the_whole_gives():
    factor, a, b = pairs(n=103)
    whole = estimate_dimensions(factor, a, b, n_factors=3)
    estimator = DimensionEstimator(n_factors=3)
    for start in range(0, 103, 20):
        rows = slice(start, start + 20)
        estimator.update(factor[rows], a[rows], b[rows])
    sizes, scores = estimator.compute()
    assert sizes == whole[0] and scores == pytest.approx(whole[1], rel=1e-12)


def test_shape_dtype_and_origin_do_not_matter():
    factor, a, b = pairs(n=200)
    sizes, scores = estimate_dimensions(factor, a, b, n_factors=3)
    maps = estimate_dimensions(factor.int(), a[..., None, None], b[..., None, None], n_factors=3)
    assert maps == (sizes, scores)
    single = estimate_dimensions(factor, a.float(), b.float(), n_factors=3)
    moved = estimate_dimensions(factor, 7 * a + 1000, 7 * b + 1000, n_factors=3)
    assert single[1] == pytest.approx(scores, rel=1e-5)
    assert moved[1] == pytest.approx(scores, rel=1e-9)


def test_a_spread_that_is_small_beside_the_mean_is_seen():
    factor, a, b = pairs(n=200)
    scores = estimate_dimensions(factor, a, b, n_factors=3)[1]
    estimator = DimensionEstimator(n_factors=3)
    for rows in torch.arange(200).split(7):
        estimator.update(factor[rows], a[rows] + 1e6, b[rows] + 1e6)
    assert estimator.compute()[1] == pytest.approx(scores, rel=1e-8)


def test_codes_may_carry_gradients():
    factor, a, b = pairs(n=20)
    assert estimate_dimensions(factor, a.requires_grad_(), b, n_factors=3)[1][-1] == 1


@pytest.fixture
def no_type_checks(monkeypatch):
    """Call the package as its users do, without the type checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"factor": [0, 2, 1]}, "factor 2, which is the residual; expected 0 to 1"),
        ({"factor": [0, -1, 1]}, "factor -1, which is out of range"),
        ({"factor": [0, 0, 0]}, "no pair shares factor 1"),
        ({"example1": torch.full((3, 4), torch.nan)}, "codes hold NaN or infinite values"),
        ({"example1": torch.zeros(3, 4, 2, 2), "example2": torch.zeros(3, 4, 2, 2)}, "expected (B, C) or (B, C, 1, 1)"),
        ({"example1": torch.full((3, 4), 0.1), "example2": torch.full((3, 4), 0.1)}, "all codes are equal"),
        ({"example1": torch.zeros(2, 4)}, "have shapes ((3,), (2, 4), (3, 4))"),
        ({"n_factors": 1}, "n_factors is 1"),
    ],
)
def test_mistakes_are_named(no_type_checks, change, text):
    codes = {"example1": torch.randn(3, 4), "example2": torch.randn(3, 4)}
    arguments = {"factor": [0, 1, 0], "n_factors": 3} | codes | change
    arguments["factor"] = torch.tensor(arguments["factor"])
    with pytest.raises(ValueError, match=re.escape(text)):
        estimate_dimensions(**arguments)


def test_nothing_is_not_an_estimate():
    with pytest.raises(ValueError, match="no pair shares factor 0"):
        DimensionEstimator(n_factors=3).compute()


def test_codes_of_another_size_are_refused():
    estimator = DimensionEstimator(n_factors=2)
    estimator.update(torch.tensor([0]), torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="codes have 4 channels; expected 3"):
        estimator.update(torch.tensor([0]), torch.zeros(1, 4), torch.zeros(1, 4))
