import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import SwinTransformer

from invariances.evaluation.metrics.fid.extractors import LayerExtractor, random_network, resize
from invariances.models.greybox import Greybox


def picture(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def network():
    """Two convolutions and a linear layer for 32 × 32 pixels; layers "0" … "4"."""
    torch.manual_seed(0)
    ends = (nn.Flatten(), nn.Linear(8 * 8 * 8, 10))
    return nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.ReLU(), nn.Conv2d(4, 8, 2, stride=2), *ends)


class TestResize:
    def test_legacy_is_the_grid_of_tensorflow_1(self):
        # output i samples position i · in / out of the input, clamped at its end
        found = resize(torch.tensor([[0, 200], [0, 200]], dtype=torch.uint8).view(1, 1, 2, 2), 4, "legacy")
        assert found[0, 0].tolist() == [[0, 100, 200, 200]] * 4

    @pytest.mark.parametrize("size", [28, 299])
    def test_clean_is_pillows_bicubic_on_floats(self, size):
        pixels = picture(1, 1, 64, 48)
        floats = Image.fromarray(pixels[0, 0].numpy().astype(np.float32), mode="F")
        expected = np.asarray(floats.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 255)
        np.testing.assert_allclose(resize(pixels, size, "clean")[0, 0].numpy(), expected, atol=0.01)

    @pytest.mark.parametrize(("mode", "even"), [("clean", True), ("legacy", False)])
    def test_only_clean_filters_before_it_shrinks(self, mode, even):
        columns = torch.zeros(1, 1, 512, 512, dtype=torch.uint8)
        columns[..., ::3] = 255
        inner = resize(columns, 128, mode)[..., 4:-4] / 255
        assert inner.mean().item() == pytest.approx(1 / 3, abs=0.01)
        assert (inner.std().item() < 0.03) == even

    @pytest.mark.parametrize("mode", ["legacy", "clean"])
    def test_the_same_size_changes_nothing(self, mode):
        pixels = picture(2, 3, 31, 31)
        torch.testing.assert_close(resize(pixels, 31, mode), pixels.float(), atol=1e-3, rtol=0)


class TestRandomNetwork:
    def test_always_the_same(self):
        torch.manual_seed(1)
        one = random_network()
        torch.manual_seed(2)
        two = random_network()
        assert one.fingerprint() == two.fingerprint()
        pixels = picture(2, 3, 32, 32)
        assert torch.equal(one(pixels), two(pixels))
        # on any machine
        weights = one.network[0].weight.flatten()[:3]
        torch.testing.assert_close(
            weights, torch.tensor([-0.2253483, -0.2306566, -0.0501559]), atol=1e-6, rtol=0
        )

    @pytest.mark.parametrize("size", [28, 32])
    def test_grey_is_repeated(self, size):
        pixels = picture(3, 1, size, size)
        features = random_network()(pixels)
        assert features.shape == (3, 512)
        assert torch.equal(features, random_network()(pixels.repeat(1, 3, 1, 1)))

    def test_the_name_tells_the_mode(self):
        assert (random_network().name, random_network("clean").name) == ("random", "clean_random")
        assert "legacy" in random_network().transform


class TestLayerExtractor:
    def test_greybox_maps_are_averaged_over_positions(self):
        box = Greybox(network(), layer="0", in_size=32)
        pixels = picture(2, 3, 32, 32)
        features = LayerExtractor("clf.0", box)(pixels)
        expected = box.encode(pixels.float() / 127.5 - 1).mean(dim=(2, 3))
        torch.testing.assert_close(features, expected)

    def test_C11_channels_last_maps_have_a_feature_for_each_channel(self):
        torch.manual_seed(0)
        swin = SwinTransformer([2, 2], 8, [1, 1], [1, 2], [4, 4], num_classes=5).eval()
        swin.in_size, pixels = 32, picture(2, 3, 32, 32)
        with torch.no_grad():
            maps = swin.norm(swin.features(pixels / 127.5 - 1))  # (2, 8, 8, 16)
        features = LayerExtractor("swin", Greybox(swin, "norm"))(pixels)
        torch.testing.assert_close(features.float(), maps.mean((1, 2)), atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("flat", [True, False])
    def test_vectors_are_taken_as_they_are(self, flat):
        class Mean(nn.Module):
            def encode(self, x):
                z = x.mean(dim=(2, 3))
                return z if flat else z[..., None, None]

        extractor = LayerExtractor("mean", Mean())
        features = extractor(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8))
        assert features.tolist() == [[1.0] * 3] * 2

    def test_evaluation_mode(self):
        norm = nn.BatchNorm2d(3).train()
        norm.encode = norm.forward
        pixels = picture(4, 3, 8, 8)
        extractor = LayerExtractor("norm", norm)
        torch.testing.assert_close(extractor(pixels)[:1], extractor(pixels[:1]))

    def test_fingerprint_knows_weights_layer_and_name(self):
        def fingerprint(name, layer):
            return LayerExtractor(name, Greybox(model, layer, in_size=32)).fingerprint()

        model = network()
        prints = [fingerprint("a", "0"), fingerprint("a", "2"), fingerprint("b", "0")]
        assert fingerprint("a", "0") == prints[0]
        model[0].weight.data[0, 0, 0, 0] += 1
        prints.append(fingerprint("a", "0"))
        assert len(set(prints)) == 4

    def test_what_has_no_features_is_refused(self):
        with pytest.raises(TypeError, match="Linear has no method encode"):
            LayerExtractor("linear", nn.Linear(2, 2))
        two = nn.Identity()
        two.encode = lambda x: (x, x)
        with pytest.raises(ValueError, match=r"two: encode returned tuple; expected a tensor \(B, D\)"):
            LayerExtractor("two", two)(picture(1, 3, 8, 8))
