import pytest
import torch
from scipy.stats import kstest, truncnorm

from invariances.data import BigGANSamplesTest, BigGANSamplesTrain


def test_an_example():
    data = BigGANSamplesTrain()
    example = data[1001]
    assert len(data) == 100_000
    assert example["latent"].shape == (140, 1, 1) and example["latent"].dtype == torch.float32
    assert example["class"] == 1 and example["class"].dtype == torch.int64


@pytest.mark.parametrize("truncation", [1.0, 0.4])
def test_latents_are_truncated_normal(truncation):
    latent = BigGANSamplesTrain(n=500, truncation=truncation).__getitems__(range(500))["latent"]
    assert latent.abs().max() <= 2 * truncation
    distance, p_value = kstest(latent.double().ravel().numpy() / truncation, truncnorm(-2, 2).cdf)
    assert p_value > 1e-3 and distance < 0.01


def test_training_latents_are_new_in_each_epoch_and_test_latents_fixed():
    for data, changes in ((BigGANSamplesTrain(), True), (BigGANSamplesTest(), False)):
        before = data[5]["latent"]
        data.set_epoch(1)
        assert torch.equal(before, data[5]["latent"]) != changes


def test_no_test_latent_is_a_training_latent():
    train, test = BigGANSamplesTrain(seed=0)[0]["latent"], BigGANSamplesTest()[0]["latent"]
    assert not torch.equal(train, test)


def test_classes_are_equally_frequent():
    data = BigGANSamplesTest(n_classes=10)
    assert (data.labels["class"].bincount() == 1000).all()
    assert data.__getitems__(range(12))["class"].tolist() == [*range(10), 0, 1]


@pytest.mark.parametrize("arguments", [{"truncation": 0.0}, {"truncation": 1.5}, {"n": 0}, {"z_dim": 0}])
def test_values_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="expected"):
        BigGANSamplesTrain(**arguments)
