import pytest

from invariances.studies.findings import THRESHOLDS, check_autoencoder, check_layer, last_losses


def autoencoder(error, mean=0.373, other=0.5):
    numbers = {"": error, "_mean_image": mean, "_other": other}
    return next(check_autoencoder({f"reconstruction_error{end}": value for end, value in numbers.items()}))


def test_a_collapsed_autoencoder():
    assert autoencoder(0.367).level == "stop"
    assert "collapsed" in autoencoder(0.367).text
    assert autoencoder(0.170).level == "good"


def test_an_ignored_code():
    found = autoencoder(0.2, other=0.21)
    assert (found.level, "ignores its code" in found.text) == ("stop", True)


def test_an_autoencoder_that_was_not_measured():
    assert next(check_autoencoder({})).level == "stop"


CALIBRATED = {"spread_skill": 1.0, "residual_variance": 0.3, "c2st": 0.5, "half_v_squared": 0.5, "energy_skill": 0.4}


def texts(metrics, train_loss=None, missing=()):
    facts = {"layer": "conv1", "metrics": CALIBRATED | metrics, "missing": dict(missing)}
    return [(found.level, found.text) for found in check_layer(facts, train_loss, z_dim=32)]


def test_a_layer_without_faults():
    assert texts({}) == [("good", "Trust: the flow is calibrated, as far as these images tell")]


@pytest.mark.parametrize(
    ("metrics", "train_loss", "words"),
    [
        ({"validation/loss": -30.0}, -37.0, "by heart: 0.22 nats per dimension"),
        ({"class_agreement_autoencoder": 0.3}, None, "only 30% of the reconstructions keep the class"),
        ({"cosine_autoencoder": 0.5, "cosine_random": 0.45}, None, "hardly more like their input"),
        ({"half_v_squared": 0.9}, None, "½v² of held-out images is 0.900"),
        ({"attribute_hue": 0.9, "attribute_hue_autoencoder": 0.1}, None, "loses most attributes (hue)"),
    ],
)
def test_faults(metrics, train_loss, words):
    found = texts(metrics, train_loss)
    assert any(level == "caution" and words in text for level, text in found), found


def test_a_missing_evaluation():
    assert ("caution", "evaluation grid is missing: broken") in texts({}, missing=[("grid", "broken")])


def test_the_last_losses(tmp_path):
    table = tmp_path / "metrics.csv"
    assert last_losses(table) is None
    table.write_text("step,train/loss\n" + "".join(f"{step},{step}.0\n" for step in range(1, 21)) + "20,\n")
    assert last_losses(table) == 19.5


def test_each_threshold_has_a_reason():
    assert all(isinstance(value, int | float) and reason for value, reason in THRESHOLDS.values())
