import pytest
import torch

from invariances.flows import ConditionalTransformer, VectorTransformer
from invariances.flows.layers.actnorm import ActNorm
from invariances.flows.released import CONDITIONAL, VECTOR, as_released
from tests import golden

ONE = "realnvp.flow.1.flow.1.s.0.main.2.weight"


def vector():
    return VectorTransformer(**golden.config("iin_vector")["Transformer"]).double()


def weights():
    return golden.load("iin_vector", "weights.")


def test_a_flow_knows_exactly_the_released_names_and_shapes():
    views = dict(as_released(vector().state_dict(), VECTOR))
    assert {name: view.shape for name, view in views.items()} == {n: w.shape for n, w in weights().items()}
    for name in ("cinn_dense", "cinn_conv", "cinn_lrelu"):
        flow = ConditionalTransformer(**golden.config(name)["Transformer"])
        views = dict(as_released(flow.state_dict(), CONDITIONAL))
        assert {key: list(view.shape) for key, view in views.items()} == golden.entry(name)["shapes"]


def test_weights_of_one_channel_halves_keep_their_shape():
    views = dict(
        as_released(VectorTransformer(2, n_flow=1, hidden_depth=0, hidden_dim=1).state_dict(), VECTOR)
    )
    assert views["realnvp.flow.0.flow.1.s.0.main.0.weight"].shape == (1, 1)
    assert views["realnvp.flow.0.flow.1.s.0.main.0.bias"].shape == (1,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(ONE), rf"VectorTransformer: of 111 weights 1 missing \({ONE}\)"),
        (lambda w: w.update(extra=torch.zeros(1)), r"1 unknown \(extra\)"),
        (lambda w: w.update({ONE: torch.zeros(3, 16)}), rf"{ONE} \(3, 16\) instead of \(16, 16\)"),
        (lambda w: w.clear(), r"none of the 111 weights is in it \(it has none, expected realnvp\S+ …\)$"),
    ],
    ids=["missing", "unknown", "another shape", "nothing"],
)
def test_weights_that_do_not_fit_are_listed_and_change_nothing(change, message):
    flow, given = vector(), weights()
    state = {name: value.clone() for name, value in flow.state_dict().items()}
    change(given)
    with pytest.raises(ValueError, match=message):
        flow.load_released(given)
    assert all(torch.equal(value, state[name]) for name, value in flow.state_dict().items())


def test_weights_without_flags_count_as_initialized_with_one_warning():
    flow, given = vector(), {n: w for n, w in weights().items() if not n.endswith("initialized")}
    with pytest.warns(UserWarning, match="lack 3 flags") as record:
        flow.load_released(given)
    assert len(record) == 1
    assert all(layer.initialized for layer in flow.modules() if isinstance(layer, ActNorm))
    torch.testing.assert_close(
        flow(golden.load("iin_vector")["input"])[0], golden.load("iin_vector")["output"]
    )
