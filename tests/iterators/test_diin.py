import math

import pytest
import torch

from invariances.errors import UserError
from invariances.flows import FactorTransformer
from invariances.iterators import DIINIterator
from invariances.losses import factor_nll
from tests import golden
from tests.iterators.worlds import DoubleFactors, Pixels


def pairs(n=6):
    generator = torch.Generator().manual_seed(0)
    return {
        "factor": torch.arange(n) % 2 - 1,  # all but factor 1 shared, factor 0 shared
        "example1": torch.randn(n, 3, 1, 1, generator=generator),
        "example2": torch.randn(n, 3, 1, 1, generator=generator),
    }


def test_the_loss_of_a_pair_by_hand():
    batch = {
        "factor": torch.tensor([0]),
        "example1": torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1),
        "example2": torch.tensor([4.0, 5.0, 6.0]).view(1, 3, 1, 1),
    }
    terms = DIINIterator(DoubleFactors(), Pixels(), learning_rate=1e-3, rho=0.5).terms(batch)
    first = (2**2 + 4**2 + 6**2) / 2
    second = (8 - 0.5 * 2) ** 2 / 2 / (1 - 0.25) + (10**2 + 12**2) / 2
    assert terms["loss"].item() == pytest.approx(first + second - 6 * math.log(2))
    assert terms["half_v_squared"].item() == pytest.approx((4 + 16 + 36 + 64 + 100 + 144) / 12)


@pytest.mark.parametrize("name", ["iin_factor_chunk", "iin_factor_split"])
def test_the_published_flow_gives_the_published_loss(name):
    about, values = golden.entry(name), golden.load(name)
    arguments = about["config"]["Transformer"]
    flow = FactorTransformer(**arguments).double()
    flow.load_released(golden.load(name, "weights."))
    iterator = DIINIterator(flow, Pixels(z_dim=arguments["in_channel"]), learning_rate=1e-3, rho=about["rho"])
    for factor, loss in (("factors", "loss"), ("factors_negative", "loss_negative")):
        batch = {"factor": values[factor], "example1": values["input1"], "example2": values["input2"]}
        assert iterator.terms(batch)["loss"].item() == pytest.approx(values[loss].item(), abs=1e-9)


def test_both_examples_pass_at_once_as_they_would_alone():
    flow = FactorTransformer(3, 2, 1, 8, 2, [1, 2])
    iterator = DIINIterator(flow, Pixels(), learning_rate=1e-3)
    batch = pairs(40)
    flow(torch.cat([batch["example1"], batch["example2"]]))  # sets ActNorm's start
    alone = [flow(batch[example]) for example in ("example1", "example2")]
    expected = factor_nll(*alone[0], *alone[1], batch["factor"], rho=0.975)
    assert iterator.terms(batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_factors_have_names_and_lead_back_to_the_code():
    iterator = DIINIterator(DoubleFactors(), Pixels(), learning_rate=1e-3)
    code = torch.randn(4, 3, 1, 1)
    factors = iterator.to_factors(code)
    assert [e.shape[1] for e in factors] == [1, 2] and torch.equal(iterator.to_code(factors), code)
    assert iterator.factor_names == ("0", "residual")
    named = DIINIterator(DoubleFactors(), Pixels(), learning_rate=1e-3, factor_names=["digit", "rest"])
    assert named.facts() == {"factors": {"digit": 1, "rest": 2}}


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["a", "a"], ["a", "b", "b"]])
def test_each_factor_wants_one_name(names):
    with pytest.raises(ValueError, match="expected 2 different names"):
        DIINIterator(DoubleFactors(), Pixels(), learning_rate=1e-3, factor_names=names)


@pytest.mark.parametrize("rho", [1.0, -0.1, 1.5, math.nan])
def test_a_correlation_of_one_is_refused(rho):
    with pytest.raises(ValueError, match=r"rho is .*; expected a correlation of at least 0 and below 1"):
        DIINIterator(DoubleFactors(), Pixels(), learning_rate=1e-3, rho=rho)


def test_images_alone_are_refused():
    iterator = DIINIterator(DoubleFactors(), Pixels(), learning_rate=1e-3)
    with pytest.raises(UserError, match="have image; DIINIterator also needs factor, example1, example2"):
        iterator.on_after_batch_transfer({"image": torch.zeros(2, 3, 1, 1)}, 0)
    assert iterator.on_after_batch_transfer(pairs(), 0).keys() == {"factor", "example1", "example2"}


def test_names_that_no_picture_can_have_are_refused():
    with pytest.raises(ValueError, match=r"factor_names is \['a/b', 'c'\]; expected names without /"):
        DIINIterator(DoubleFactors(), Pixels(), learning_rate=1e-3, factor_names=["a/b", "c"])
