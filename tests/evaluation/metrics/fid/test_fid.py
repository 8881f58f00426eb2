import warnings

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from invariances.evaluation.metrics.fid.extractors import LayerExtractor, random_network
from invariances.evaluation.metrics.fid.fid import FID, scores
from invariances.models import Frozen


class Colours(nn.Module):
    """Twelve features: means over a 2 × 2 grid."""

    def encode(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


@pytest.fixture
def colours():
    return LayerExtractor("colours", Colours())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INVARIANCES_DATA", str(tmp_path))


def images(n, seed=0, size=16, channels=3):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def quiet(*arguments, **keywords):
    """Scores, where the number of images is not the point."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*images for .* features")
        return scores(*arguments, **keywords)


def values(found):
    """The scores, without intervals and numbers of images."""
    return {name: value for name, value in found.items() if not (name.endswith("_ci") or name.startswith("n_"))}


class TestScores:
    def test_batches_and_order_make_no_difference(self):
        real, samples, extractor = images(103), images(103, seed=1) * 0.8, random_network()
        expected = quiet([real], [samples], extractor, batch_size=103)
        for batch_size in (1, 20, 50, 200):
            found = quiet(real.split(25), samples.flip(0).split(30), extractor, batch_size=batch_size)
            assert found == pytest.approx(expected, rel=1e-3)

    def test_all_images_count(self, colours):
        # the last batch holds the only image that is not black
        real = torch.full((103, 3, 4, 4), -1.0)
        samples = real.clone()
        samples[-1] = 1
        found = scores(real.split(20), samples.split(20), colours, batch_size=20)
        mean, variance = 2 / 103, 4 * 102 / 103**2 * 103 / 102
        assert found["fid_colours"] == pytest.approx(12 * (mean**2 + variance), rel=1e-6)

    def test_grey_is_repeated_grey(self):
        real, samples = images(60, channels=1, size=28), images(60, seed=1, channels=1, size=28) * 0.7
        grey = quiet([real], [samples], random_network())
        repeated = quiet([real.repeat(1, 3, 1, 1)], [samples.repeat(1, 3, 1, 1)], random_network())
        assert grey == pytest.approx(repeated, abs=1e-4, rel=1e-4)

    def test_sizes_may_differ_within_a_set(self):
        sizes = [32, 48, 64, 20, 299]
        real = [images(1, seed=i, size=size)[0] for i, size in enumerate(sizes)]
        samples = [images(1, seed=i + 9, size=size)[0] * 0.5 for i, size in enumerate(sizes)]
        found = quiet(real, samples, random_network("clean"), batch_size=2)
        assert found == pytest.approx(
            quiet(real[::-1], samples[2:] + samples[:2], random_network("clean")), rel=1e-6
        )

    def test_a_set_and_itself(self):
        real = images(60)
        found = quiet([real], [real], random_network())
        assert 0 <= found["fid_random"] <= 1e-3
        assert (found["precision_random"], found["recall_random"]) == (1, 1)

    def test_one_picture_many_times(self, colours):
        one = images(1).expand(20, -1, -1, -1)
        expected = {"fid_colours": 0, "kid_colours": 0, "precision_colours": 1, "recall_colours": 1}
        assert values(scores([one], [one], colours)) == pytest.approx(expected, abs=1e-9)

    def test_random_features_tell_digits_from_their_negatives(self):
        from invariances.data.sets.digits import digits

        pixels = torch.from_numpy(digits("test", 32)[0])
        real, others = pixels[:100], pixels[100:200]
        alike = quiet([real], [others], random_network(), value_range="uint8")
        negative = quiet([real], [255 - others], random_network(), value_range="uint8")
        assert 5 * alike["fid_random"] < negative["fid_random"]
        assert abs(alike["kid_random"]) < 0.1 * negative["kid_random"]

    def test_one_warning_with_count_and_feature_size(self):
        with pytest.warns(UserWarning, match="fid_random: 9 images for 512 features") as caught:
            found = scores([images(10)], [images(9, seed=1)], random_network())
        assert len(caught) == 1
        assert all(value == value and abs(value) < float("inf") for value in found.values())

    def test_only_what_is_asked_for(self, colours):
        found = scores([images(20)], [images(20, seed=1)], colours, kid=False, precision_recall=False)
        assert values(found).keys() == {"fid_colours"}

    def test_the_numbers_of_images_are_told(self, colours):
        found = scores([images(20)], [images(30, seed=1)], colours)
        assert (found["n_real_colours"], found["n_samples_colours"]) == (20, 30)

    def test_each_score_has_an_interval(self, colours):
        found = scores([images(40)], [images(40, seed=1)], colours)
        for name in values(found):
            assert found[f"{name}_ci"] > 0

    @pytest.mark.parametrize("n", [2, 3])
    @pytest.mark.filterwarnings("ignore:.*images for .* features")
    def test_too_few_images_for_precision_leave_the_rest(self, colours, n):
        real, samples = images(20), images(n, seed=1)
        message = f"precision_colours, recall_colours: left out; expected more than 3 images, not {n}"
        with pytest.warns(UserWarning, match=message):
            found = scores([real], [samples], colours)
        assert found == scores([real], [samples], colours, precision_recall=False)
        assert values(found).keys() == {"fid_colours", "kid_colours"}

    def test_broken_empty_and_mixed_up_sets_are_refused(self, colours):
        broken = images(103)
        broken[77, 0, 2, 2] = torch.nan
        with pytest.raises(ValueError, match="1 of 103 images hold NaN"):
            scores([images(20)], broken.split(50), colours)
        for empty in ([], [torch.zeros(0, 3, 8, 8)]):
            with pytest.raises(ValueError, match="set of images is empty"):
                scores([images(20)], empty, colours)
        with pytest.raises(ValueError, match=r"are they in \[0, 1\]\?"):
            scores([images(20)], [images(20) / 2 + 0.5], colours)
        with pytest.raises(ValueError, match="floats are declared"):
            scores([images(20)], [images(20).to(torch.uint8)], colours)


class Generator:
    """A trained model, for all that FID knows."""

    device = torch.device("cpu")

    def __init__(self, scale=0.8):
        self.scale, self.drawn = scale, 0

    def sample_images(self, n, generator):
        self.drawn += n
        return (torch.rand(n, 3, 16, 16, generator=generator) * 2 - 1) * self.scale


class Copier:
    """A conditional model: its sample for an image is the image, and noise where that is expected."""

    device = torch.device("cpu")

    def __init__(self, noise=0.0):
        self.noise, self.given = noise, []

    def sample_like(self, images, generator):
        self.given.append(images)
        return images + self.noise * torch.rand(images.shape, generator=generator)


class Code(nn.Module):
    """The toy world's code, 64 numbers N(0, .2²), as an image of 8 × 8 pixels."""

    def encode(self, x):
        return x.flatten(1)


def codes(n):
    return torch.randn(2000, 1, 8, 8, generator=torch.Generator().manual_seed(9))[:n] * 0.2


class Exact:
    """A conditional model whose condition holds the first dimensions of the code; exact where `spread` is 1."""

    device = torch.device("cpu")

    def __init__(self, kept, spread=1.0):
        self.kept, self.spread = kept, spread

    def sample_like(self, images, generator):
        drawn = (torch.randn(images.shape, generator=generator) * 0.2 * self.spread).flatten(1)
        drawn[:, : self.kept] = images.flatten(1)[:, : self.kept]
        return drawn.view_as(images)


def score_codes(model, images, folder):
    return FID(Code(), precision_recall=False)(model, [{"image": part} for part in images.split(500)], folder)


MODELS = {"unconditional": Generator, "conditional": lambda: Copier(noise=0.05)}


def loader(n=103, batch_size=25):
    return DataLoader([{"image": image} for image in images(n)], batch_size=batch_size)


class Autoencoding(Generator):
    """A model whose reconstructions are darker by a known amount."""

    def reconstruct(self, images):
        return (images - 0.25).clamp(min=-1)


class Corner(nn.Module):
    """Eight features of an image of 16 × 16 pixels."""

    def encode(self, x):
        return x[:, 0, :2, :4].flatten(1)


class TestFID:
    def test_reconstructions_are_scored_beside_samples(self, tmp_path):
        bright = [{"image": images(40, seed=seed) * 0.5} for seed in range(3)]
        found = FID(Corner(), kid=False, precision_recall=False)(Autoencoding(), bright, tmp_path)
        assert found["reconstruction_fid_Corner"] == pytest.approx(8 * 0.25**2, rel=0.01)  # images are rounded to bytes
        assert 0.2 < found["fid_Corner"] < 0.4  # spreads of .8 and .5: 8 (.3)² / 3, and chance
        less = FID(Corner(), reconstructions=False)(Autoencoding(), bright, tmp_path)
        assert "reconstruction_fid_Corner" not in less

    def test_published_statistics_give_the_frechet_distance_alone(self, tmp_path):
        path, mean = tmp_path / "published.npz", np.arange(8.0)
        np.savez(path, mu=mean, sigma=np.eye(8))
        with pytest.warns(UserWarning, match="published.npz holds mu and sigma alone"):
            found = FID(Corner(), pre_calc_stat_path=path)(Autoencoding(scale=0.0), loader(), tmp_path)
        assert found.keys() == {"n_samples_Corner", "fid_Corner", "reconstruction_fid_Corner"}
        assert found["n_samples_Corner"] == 103
        grey = 0.5 / 127.5  # a byte has no exact 0
        assert found["fid_Corner"] == pytest.approx((mean**2).sum() + 8, abs=2 * mean.sum() * grey + 0.01)

    @pytest.mark.filterwarnings("ignore:.*holds mu and sigma alone")
    def test_published_statistics_of_another_network_are_refused(self, tmp_path):
        np.savez(tmp_path / "a.npz", mu=np.zeros(2048), sigma=np.eye(2048))
        with pytest.raises(ValueError, match="real images have 2048 features, those of the samples 8; delete the file"):
            FID(Corner(), pre_calc_stat_path=tmp_path / "a.npz")(Generator(), loader(), tmp_path)

    def test_equals_scores_of_the_same_pictures(self, tmp_path):
        generator = torch.Generator().manual_seed(3)
        samples = [Generator().sample_images(n, generator) for n in (50, 50, 3)]
        expected = scores([images(103)], samples, LayerExtractor("Colours", Colours()))
        found = FID(Colours(), seed=3)(Generator(), loader(), tmp_path)
        assert found == pytest.approx(expected, rel=1e-6)

    def test_a_conditional_model_is_given_a_half_and_compared_with_the_other(self, tmp_path):
        # with the images themselves for samples, the score is that of the two halves
        model = Copier()
        found = FID(Colours())(model, loader(), tmp_path)
        given = torch.cat(model.given)
        assert (found["n_real_Colours"], found["n_samples_Colours"]) == (52, 52)
        half = given[:51]
        assert torch.equal(given[51:], half[:1])  # one more sample than there are conditions: of the first again
        others = torch.stack([image for image in images(103) if not (image == half).flatten(1).all(1).any()])
        assert len(others) == 52
        expected = scores([others], [given], LayerExtractor("Colours", Colours()))
        assert found == pytest.approx(expected, rel=1e-6)
        assert not torch.equal(half, images(103)[:51])  # at random, not the first

    def test_more_samples_than_conditions_are_several_of_each(self, tmp_path):
        model = Copier()
        found = FID(Colours(), n_samples=130)(model, loader(), tmp_path)
        given = torch.cat(model.given)
        assert torch.equal(given, torch.cat([given[:51], given[:51], given[:28]]))
        assert found["n_samples_Colours"] == 130

    def test_the_score_of_an_exact_conditional_model_does_not_depend_on_its_condition(self, tmp_path):
        exact = {kept: score_codes(Exact(kept), codes(2000), tmp_path) for kept in (0, 32, 58, 64)}
        real = scores([codes(1000)], [codes(2000)[1000:]], LayerExtractor("Code", Code()), precision_recall=False)
        for found in exact.values():
            assert found["fid_Code"] == pytest.approx(real["fid_Code"], abs=2 * real["fid_Code_ci"])
            assert abs(found["kid_Code"]) < 2 * found["kid_Code_ci"]
        assert {found["n_real_Code"] for found in exact.values()} == {1000}

    def test_a_collapsed_conditional_model_scores_worse_than_two_sets_of_images(self, tmp_path):
        found = [score_codes(Exact(16, spread), codes(2000), tmp_path) for spread in (1, 0.5, 0.2)]
        exact, half, fifth = (scores["fid_Code"] for scores in found)
        # each of 48 dimensions lacks (1 − spread)² of its variance, .2²
        assert half - exact == pytest.approx(48 * 0.2**2 * 0.5**2, rel=0.15)
        assert fifth - exact == pytest.approx(48 * 0.2**2 * 0.8**2, rel=0.15)

    def test_too_few_images_for_halves(self, tmp_path):
        with pytest.raises(ValueError, match="the split has 3 image"):
            FID(Colours())(Copier(), loader(3), tmp_path)

    def test_a_file_of_statistics_is_of_the_half(self, tmp_path):
        path = tmp_path / "noise.npz"
        FID(Colours(), pre_calc_stat_path=path)(Generator(), loader(), tmp_path)
        conditional = FID(Colours(), pre_calc_stat_path=path, seed=5)
        assert conditional(Copier(), loader(), tmp_path) == conditional(Copier(), loader(), tmp_path)
        assert {file.name for file in tmp_path.glob("*.npz")} == {"noise.npz", "noise_half_5.npz"}

    @pytest.mark.parametrize("model", ["unconditional", "conditional"])
    def test_batch_size_makes_no_difference(self, tmp_path, model):
        found = [
            FID(Colours(), batch_size=batch_size)(
                MODELS[model](), loader(batch_size=loaded), tmp_path / str(batch_size)
            )
            for batch_size, loaded in [(1, 10), (20, 103), (200, 7)]
        ]
        assert found[0] == pytest.approx(found[1], rel=1e-3)
        assert found[0] == pytest.approx(found[2], rel=1e-3)

    def test_as_many_samples_as_real_images_unless_told(self, tmp_path):
        model = Generator()
        FID(Colours())(model, loader(), tmp_path)
        assert model.drawn == 103
        FID(Colours(), n_samples=20)(model, loader(), tmp_path)
        assert model.drawn == 123

    def test_the_second_call_gives_the_same_number(self, tmp_path):
        fid = FID(Colours())
        assert fid(Generator(), loader(), tmp_path) == fid(Generator(), loader(), tmp_path)
        assert FID(Colours())(Generator(), loader(), tmp_path) == fid(Generator(), loader(), tmp_path)

    def test_statistics_go_where_they_are_wanted(self, tmp_path):
        path = tmp_path / "fid_stats" / "noise.npz"
        FID(Colours(), pre_calc_stat_path=str(path))(Generator(), loader(), tmp_path / "pictures")
        assert path.exists()
        assert not (tmp_path / "pictures").exists()

    @pytest.mark.parametrize(
        ("name", "expected"), [(None, "fid_Colours"), ("digits_clf.conv1", "fid_digits_clf.conv1")]
    )
    def test_names(self, tmp_path, name, expected):
        assert expected in FID(Colours(), features_name=name)(Generator(), loader(20), tmp_path)

    def test_without_weights_another_network_and_one_warning(self, tmp_path):
        path = tmp_path / "inception.npz"  # is not to hold another network's statistics
        fid = FID(weights=tmp_path / "none.pth", n_samples=20, pre_calc_stat_path=path)
        with pytest.warns(UserWarning) as caught:
            first = fid(Generator(), loader(20), tmp_path)
            second = fid(Generator(), loader(20), tmp_path)
        messages = [str(warning.message) for warning in caught]
        assert sum("none.pth: cannot be read as weights" in message for message in messages) == 1
        assert "fid_random" in first
        assert first == second
        assert not path.exists()

    def test_what_cannot_be_scored_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users call it: without type checks
        with pytest.raises(TypeError, match="object has no sample_images and no sample_like"):
            FID(Colours())(object(), loader(20), tmp_path)
        with pytest.raises(ValueError, match="features is 'incepton'; expected inception, dinov2, clip, random, or"):
            FID("incepton")

    @pytest.mark.parametrize("name", ["Inception3", "GoogLeNet", "InceptionV3"])
    def test_never_inception_where_the_network_under_study_is_one(self, tmp_path, name):
        studied = type(name, (nn.Module,), {})()
        model = Copier(noise=0.05)
        model.greybox = Frozen(nn.Sequential(studied, nn.Identity()))
        with pytest.raises(ValueError, match=f"under study is an Inception .{name}.*use dinov2, clip or random"):
            FID()(model, loader(20), tmp_path)
        assert "fid_Colours" in FID(Colours())(model, loader(20), tmp_path)
        model.greybox = Frozen(nn.Sequential(nn.Identity()))
        with pytest.warns(UserWarning, match="cannot be read as weights"):
            assert "fid_random" in FID(weights=tmp_path / "none.pth")(model, loader(20), tmp_path)
