import json
import warnings
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from torch import nn

from invariances.evaluation import FactorSizes, estimate_dimensions
from tests.iterators.worlds import Pixels, Representation


def pairs(n=400, n_channels=10, seed=0):
    """Codes whose pairs agree in the first three channels (factor 0) or the next four (factor 1)."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.arange(n) % 2
    a, b = (torch.randn(n, n_channels, 1, 1, generator=generator) for _ in range(2))
    b[factor == 0, :3], b[factor == 1, 3:7] = a[factor == 0, :3], a[factor == 1, 3:7]
    return {"factor": factor, "example1": a, "example2": b}


class Loader(list):
    def __init__(self, batch, size=150):
        starts = range(0, len(batch["factor"]), size)
        super().__init__({k: v[start : start + size] for k, v in batch.items()} for start in starts)
        self.dataset = range(len(batch["factor"]))


def measure(model, batch, folder, **arguments):
    iterator = SimpleNamespace(model=model, device=torch.device("cpu"))
    return FactorSizes(["digit", "colour"], **arguments)(iterator, Loader(batch), folder)


@pytest.mark.parametrize("model", [Pixels(), Representation()])
def test_sizes_are_those_of_the_codes(model, tmp_path):
    batch = pairs()
    numbers = measure(model, batch, tmp_path)
    sizes, scores = estimate_dimensions(batch["factor"], batch["example1"], batch["example2"], n_factors=3)
    names = ("digit", "colour", "residual")
    assert [numbers[f"size_{name}"] for name in names] == sizes and sum(sizes) == 10
    assert [numbers[f"score_{name}"] for name in names] == pytest.approx(scores, rel=1e-6)
    assert scores == pytest.approx([0.3, 0.4, 1], abs=0.06)
    facts = json.loads((tmp_path / "factors.json").read_text())
    assert facts["factors"] == list(names) and facts["sizes"] == sizes and facts["n_pairs"] == 400
    assert (tmp_path / "factors.png").exists()


def test_the_line_of_the_log_that_people_search_for(tmp_path, caplog):
    caplog.set_level("INFO", logger="invariances")
    numbers = measure(Pixels(), pairs(), tmp_path)
    sizes = [int(numbers[f"size_{name}"]) for name in ("digit", "colour", "residual")]
    assert f"[INFO] [dim_callback]: estimated factor dimensionalities: {sizes}" in caplog.messages


@pytest.mark.filterwarnings("ignore:sizes of factors from few pairs")
def test_the_intervals_cover(tmp_path):
    """300 sets of 60 pairs whose scores are .3 and .4 in expectation."""
    found = []
    for seed in range(300):
        with patch("invariances.evaluation.metrics.factor_sizes._plot"):
            found.append(measure(Pixels(), pairs(120, seed=seed), tmp_path))
    for name in ("score_digit", "score_colour"):
        values, widths = (torch.tensor([numbers[each] for numbers in found]) for each in (name, f"{name}_ci"))
        assert 0.92 <= ((values - values.mean()).abs() <= widths).float().mean() <= 0.985
    assert found[0]["score_residual_ci"] == 0
    assert all(found[0][f"size_{name}_ci"] > 0 for name in ("digit", "colour", "residual"))


def test_C18_few_pairs_and_constant_channels_are_told(tmp_path):
    batch = pairs(4)
    with pytest.warns(UserWarning, match="few pairs: 2 of factor 0, 2 of factor 1; expected at least 100"):
        assert not any(name.endswith("_ci") for name in measure(Pixels(), batch, tmp_path))
    batch = pairs()
    for k in (1, 8):
        batch["example1"][:, k] = batch["example2"][:, k] = 0.7
    with pytest.warns(UserWarning, match="2 of 10 channels of the codes are constant: 1, 8;") as caught:
        measure(Pixels(), batch, tmp_path)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(Pixels(), pairs(), tmp_path)


def test_codes_of_a_distribution_are_drawn_and_the_same_each_time(tmp_path):
    exact, drawn, again = (measure(Pixels(spread), pairs(9000), tmp_path) for spread in (0.0, 2.0, 2.0))
    assert drawn == again
    # noise of variance 4 that the examples of a pair do not share
    assert drawn["score_colour"] == pytest.approx(exact["score_colour"] / 5, abs=0.03)


def test_what_has_no_codes_and_what_are_no_pairs(tmp_path):
    with pytest.raises(TypeError, match="Identity has no encode"):
        measure(nn.Identity(), pairs(), tmp_path)
    iterator = SimpleNamespace(model=Pixels(), device=torch.device("cpu"))
    with pytest.raises(ValueError, match="examples hold image; expected pairs"):
        FactorSizes(["a"])(iterator, [{"image": torch.zeros(2, 3, 1, 1)}], tmp_path)
