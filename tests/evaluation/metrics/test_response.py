import pytest
import torch

from invariances.evaluation import Response
from invariances.flows import FactorTransformer
from invariances.iterators import DIINIterator
from invariances.models import Autoencoder, Classifier
from tests.evaluation.factor_world import Sign, iterator, loader


def test_the_predicted_class_follows_the_factor_that_it_depends_on(tmp_path):
    numbers = Response(Sign(), n_images=5, n_draws=2000)(iterator(), loader(), tmp_path)
    expected = {  # classes 0 and 1 are equally likely: their numbers have a standard deviation of ½
        "response_first_sigma": 0.5,
        "response_first_changed": 0.5,
        "response_residual_sigma": 0,
        "response_residual_changed": 0,
    }
    assert numbers == pytest.approx(expected, abs=0.02)
    assert (tmp_path / "response.png").exists()


def test_a_first_stage_may_be_the_classifier_itself(tmp_path):
    classifier = Classifier(3, 8, 1, 6, n_classes=4, norm="bn", width=2)
    flow = FactorTransformer(6, 1, 0, 4, 2, [2, 4])
    diin = DIINIterator(flow, classifier, learning_rate=1e-3)
    images = torch.rand(8, 3, 8, 8) * 2 - 1
    flow(diin.codes(images))  # sets ActNorm's start
    diin.eval()
    with torch.inference_mode():  # as Lightning evaluates
        numbers = Response(n_images=2, n_draws=50)(diin, [{"image": images}], tmp_path)
    assert set(numbers) == {f"response_{k}_{what}" for k in ("0", "residual") for what in ("sigma", "changed")}

    # by hand: factor 0 of the first image resampled, everything else kept
    factors = diin.to_factors(diin.code(images[:1]))
    draws = torch.randn(50, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    codes = diin.to_code([draws, factors[1].expand(50, -1, -1, -1)])
    by_hand = classifier.classifier(codes.flatten(1)).argmax(1)
    one = Response(n_images=1, n_draws=50)(diin, [{"image": images}], tmp_path)
    assert one["response_0_sigma"] == pytest.approx(by_hand.float().std(correction=0).item(), abs=1e-6)


def test_an_autoencoder_is_no_classifier(tmp_path):
    autoencoder = Autoencoder(in_channels=3, in_size=8, n_down=1, z_dim=6, norm="bn", width=2)
    diin = DIINIterator(FactorTransformer(6, 1, 0, 4, 2, [2, 4]), autoencoder, learning_rate=1e-3).eval()
    batches = [{"image": torch.zeros(2, 3, 8, 8)}]
    expected = "response/classifier is not given, and the first stage, Autoencoder, is no classifier .*give one"
    with pytest.raises(ValueError, match=expected):
        Response()(diin, batches, tmp_path)
    classifier = Classifier(3, 8, 1, 6, n_classes=4, norm="bn", width=2)
    diin = DIINIterator(FactorTransformer(6, 1, 0, 4, 2, [2, 4]), classifier, learning_rate=1e-3).eval()
    with pytest.raises(ValueError, match=r"response/layer encodr .*does not exist"):
        Response(layer="encodr")(diin, batches, tmp_path)
