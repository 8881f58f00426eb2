import pytest
import requests
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from invariances.evaluation.metrics.fid.extractors import resize
from invariances.evaluation.metrics.fid.fid import scores
from invariances.evaluation.metrics.fid.inception import FILES, URL, WeightsMissing, inception


def pictures(n, seed, size=64):
    """Smooth random pictures, bytes."""
    noise = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return (nn.functional.interpolate(noise, (size, size), mode="bilinear") * 255).to(torch.uint8)


def theirs(path):
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))


def test_features_are_torch_fidelitys(weights):
    pixels = pictures(2, seed=0)
    found = inception(weights=weights)(pixels)
    assert found.shape == (2, 2048)
    (expected,) = theirs(weights)(pixels)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected)


def test_clean_mode_differs_in_the_resize_only(weights):
    clean = inception("clean", weights)
    assert clean.name == "clean_inception"
    pixels = pictures(1, seed=0, size=300)
    with torch.no_grad():
        expected = clean.network((resize(pixels, 299, "clean") - 128) / 128)
    torch.testing.assert_close(clean(pixels), expected)


@pytest.mark.parametrize("name", FILES)
def test_weights_that_are_there_are_used_and_their_hash_is_checked(weights, hub, name):
    (hub / name).symlink_to(weights)
    with pytest.warns(UserWarning, match=f"{name}: not the published weights"):
        extractor = inception()
    assert extractor.fingerprint() == inception(weights=weights).fingerprint()


def test_no_network(hub, monkeypatch):
    def refuse(url, **_):
        raise requests.ConnectionError(f"no route to {url}")

    monkeypatch.setattr(requests, "get", refuse)
    with pytest.raises(WeightsMissing) as failure:
        inception()
    for part in (str(hub / FILES[0]), URL, "no route", "by hand", "fid/features"):
        assert part in str(failure.value)
    assert "\n" not in str(failure.value)
    assert [path.suffix for path in hub.iterdir()] in ([], [".lock"])


def test_a_wrong_download_is_deleted(hub, monkeypatch):
    def serve(self, url, path, _):
        with open(path, "wb") as file:
            file.write(b"not weights")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", serve)
    with pytest.raises(WeightsMissing, match="SHA-256 6726825d… and was deleted"):
        inception()
    assert [path.suffix for path in hub.iterdir()] in ([], [".lock"])


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save({"conv.weight": torch.zeros(1)}, path) if content is None else path.write_bytes(content)
    with pytest.raises(WeightsMissing, match=r"weights.pth: cannot be read as weights of Inception"):
        inception(weights=path)


@pytest.mark.slow
def test_fid_is_torch_fidelitys(weights):
    sets = [pictures(40, seed=0), pictures(40, seed=1) // 2]
    expected = calculate_metrics(
        input1=Pictures(sets[1]),
        input2=Pictures(sets[0]),
        fid=True,
        cuda=False,
        cache=False,
        verbose=False,
        feature_extractor_weights_path=str(weights),
    )
    with pytest.warns(UserWarning, match="40 images for 2048 features"):
        found = scores(*[[s] for s in sets], inception(weights=weights), value_range="uint8")
    assert found["fid_inception"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)


@pytest.mark.slow
def test_fid_is_pytorch_fids(weights, monkeypatch):
    network = pytest.importorskip("pytorch_fid.inception", reason="pytorch-fid is not installed")
    from pytorch_fid.fid_score import calculate_frechet_distance

    state = torch.load(weights, weights_only=True)
    monkeypatch.setattr(network, "load_state_dict_from_url", lambda *args, **kwargs: state)
    their_network = network.InceptionV3(resize_input=False, normalize_input=False).eval()
    sets = [pictures(40, seed=0, size=299), pictures(40, seed=1, size=299) // 2]
    moments = []
    for pixels in sets:
        with torch.no_grad():
            rows = torch.cat(
                [their_network((part.float() - 128) / 128)[0].flatten(1) for part in pixels.split(10)]
            )
        moments += [rows.double().mean(0).numpy(), torch.cov(rows.double().T).numpy()]
    expected = calculate_frechet_distance(*moments)
    with pytest.warns(UserWarning, match="40 images for 2048 features"):
        found = scores(*[[s] for s in sets], inception(weights=weights), value_range="uint8")
    assert found["fid_inception"] == pytest.approx(expected, rel=1e-3)


class Pictures(TensorDataset):
    """What torch-fidelity reads: a data set of single tensors."""

    def __getitem__(self, index):
        return super().__getitem__(index)[0]
