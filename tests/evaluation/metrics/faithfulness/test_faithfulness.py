"""A world where everything is known: images of three pixels, a network that sees the first alone, an exact flow."""

import math

import pytest
import torch
from torch import nn

from invariances.evaluation import faithfulness
from invariances.flows import ConditionalTransformer
from invariances.models import DiagonalGaussian

SIGMA = 1e-4  # how sharply the flow knows the pixel that the network sees


class Pixels(nn.Module):
    """The autoencoder: the code is the image."""

    def encode(self, x):
        return DiagonalGaussian(x, torch.zeros_like(x), deterministic=True)

    def decode(self, code):
        return code


class FirstPixel(nn.Module):
    """The network: it sees the first pixel, and its class is the sign."""

    def encode(self, x):
        return torch.cat([x[:, :1], torch.ones_like(x[:, :1])], dim=1)

    def decode(self, z):
        return torch.cat([z[:, 0], -z[:, 0]], dim=1).flatten(1)


class Exact(nn.Module):
    """The flow: first pixel N(z, σ²), the others N(0, 1), or N(0, 0) for a flow that has collapsed.

    Each image's v is the first pixel's deviation from z, which is 0, and the other pixels.
    """

    def __init__(self, spread=1.0):
        super().__init__()
        self.spread = spread

    def forward(self, code, z):
        v = torch.cat([(code[:, :1] - z[:, :1]) / SIGMA, code[:, 1:]], dim=1)
        return v, torch.full((len(code),), -math.log(SIGMA))

    def sample(self, z, n, generator=None):
        v = torch.randn((len(z), n, 3, 1, 1), generator=generator)
        scale = torch.tensor([SIGMA, self.spread, self.spread]).reshape(3, 1, 1)
        mean = torch.cat([z[:, :1], torch.zeros(len(z), 2, 1, 1)], dim=1)
        return mean[:, None] + scale * v


class Blind(Exact):
    """A flow that ignores z: v is the code, and with it the class."""

    def forward(self, code, z):
        return code, torch.zeros(len(code))

    def sample(self, z, n, generator=None):
        return torch.randn((len(z), n, 3, 1, 1), generator=generator)


class Conditional(nn.Module):
    """The best prediction of a code: the pixel that is seen, and the mean of the others."""

    def forward(self, z):
        return torch.cat([z[:, :1], torch.zeros(len(z), 2, 1, 1)], dim=1)


class Split(nn.Module):
    """A disentangling INN: the first pixel is a factor, the others the residual."""

    sizes = (1, 2)

    def forward(self, code):
        return [code[:, :1], code[:, 1:]], torch.zeros(len(code))


@pytest.fixture
def images():
    return torch.randn(2000, 3, 1, 1, generator=torch.Generator().manual_seed(0))


def test_an_exact_flow_is_faithful(images):
    found = faithfulness(Exact(), FirstPixel(), Pixels(), images, n_samples=16)
    assert found["cosine"] == pytest.approx(1, abs=1e-6)
    assert found["cosine_autoencoder"] == pytest.approx(1, abs=1e-6)
    assert found["relative_l2"] == pytest.approx(0, abs=3 * SIGMA)
    assert found["class_agreement"] > 0.999
    assert found["diversity"] == pytest.approx(2 / 3, abs=0.03)  # two of three pixels are free
    # code = image has v₁ = 0 exactly: ½·(0 + 1 + 1) + log σ
    assert found["nll"] == pytest.approx(1 + math.log(SIGMA), abs=0.05)
    assert found["nll_gaussian"] == pytest.approx(1.5, abs=0.1)
    assert found["half_v_squared"] == pytest.approx(1 / 3, abs=0.02)
    assert found["variance_explained_by_v"] == pytest.approx(2 / 3, abs=0.03)
    # E‖x − y‖ is √π in the two pixels that are free, and 4/√π in all three
    assert found["pairwise_distance"] == pytest.approx(math.pi / 4, abs=0.02)
    assert found["agreement_times_diversity"] == pytest.approx(found["class_agreement"] * found["diversity"])


def test_retrieval_lies_between_exact_and_chance(images):
    exact = faithfulness(Exact(), FirstPixel(), Pixels(), images, n_samples=2)
    assert exact["retrieval_rank"] == pytest.approx(1, abs=0.3)
    assert exact["retrieval_mrr"] > 0.9
    assert (exact["retrieval_rank_autoencoder"], exact["retrieval_mrr_autoencoder"]) == (1, 1)
    harmonic = sum(1 / k for k in range(1, 2001)) / 2000
    blind = faithfulness(Blind(), FirstPixel(), Pixels(), images, n_samples=2)
    for suffix, found in {"": blind, "_random": exact}.items():
        assert found[f"retrieval_rank{suffix}"] == pytest.approx(1000.5, abs=50)
        assert found[f"retrieval_mrr{suffix}"] == pytest.approx(harmonic, abs=0.002)


def test_a_probe_finds_the_class_in_v_where_v_depends_on_it(images):
    exact = faithfulness(Exact(), FirstPixel(), Pixels(), images[:1000], n_samples=2)
    assert exact["probe_chance"] == pytest.approx(0.5, abs=0.04)
    assert exact["probe_accuracy"] == pytest.approx(0.5, abs=0.05)
    assert exact["probe_accuracy_code"] > 0.97
    assert faithfulness(Blind(), FirstPixel(), Pixels(), images[:1000], n_samples=2)["probe_accuracy"] > 0.97


def test_the_probe_looks_for_the_classes_that_are_given(images):
    # the class is the sign of a pixel that the network does not see; a third class has 160 images
    x = images[:400].clone()
    classes = (x[:, 1, 0, 0] > 0).long()
    classes[:160] = 2
    found = faithfulness(Exact(), FirstPixel(), Pixels(), x, n_samples=2, classes=classes)
    assert found["probe_chance"] == pytest.approx(1 / 3, abs=0.02)
    assert found["probe_accuracy"] > found["probe_chance_95"] + 0.1


def test_rare_classes_are_no_matter_for_a_probe(images):
    classes = torch.arange(20) % 10  # two of each
    found = faithfulness(Exact(), FirstPixel(), Pixels(), images[:20], n_samples=2, classes=classes)
    assert not any(name.startswith("probe") for name in found)


def test_baselines_agree_but_do_not_vary(images):
    found = faithfulness(Exact(), FirstPixel(), Pixels(), images, n_samples=2, baseline=Conditional())
    assert (found["class_agreement_mlp"], found["diversity_mlp"], found["agreement_times_diversity_mlp"]) == (1, 0, 0)
    assert found["cosine_mlp"] == pytest.approx(1, abs=1e-6)
    assert found["residual_variance_mlp"] == pytest.approx(found["residual_variance"], rel=0.3)
    assert found["class_agreement_mean"] == pytest.approx(0.5, abs=0.03)  # always the same class
    assert found["diversity_mean"] == 0
    assert found["cosine_mean"] < 0.9
    assert found["agreement_times_diversity"] > 0.6
    alone = faithfulness(Exact(), FirstPixel(), Pixels(), images, n_samples=2)
    assert not any(name.endswith("_mlp") for name in alone)
    assert alone == pytest.approx({name: found[name] for name in alone}, rel=1e-6)


def test_factors_are_explained_by_z_or_not(images):
    found = faithfulness(Exact(), FirstPixel(), Pixels(), images, factors=Split(), factor_names=["seen", "rest"])
    assert found["factor_seen_explained_by_z"] == pytest.approx(1, abs=1e-6)
    assert found["factor_rest_explained_by_z"] == pytest.approx(0, abs=0.05)
    assert "factor_1_explained_by_z" in faithfulness(Exact(), FirstPixel(), Pixels(), images[:9], factors=Split())
    for names in (["seen"], ["seen", "seen"]):
        with pytest.raises(ValueError, match="expected 2 different names"):
            faithfulness(Exact(), FirstPixel(), Pixels(), images, factors=Split(), factor_names=names)


def test_intervals_hold_what_other_images_give(images):
    half, other = (
        faithfulness(Blind(), FirstPixel(), Pixels(), x, n_samples=4, baseline=Conditional())
        for x in images.split(1000)
    )
    names = [name for name in half if f"{name}_ci" in half and not name.endswith(("_random", "_nearest"))]
    assert {"nll", "nll_gaussian", "diversity", "probe_accuracy", "retrieval_rank", "class_agreement_mlp"} <= {*names}
    inside = [abs(half[name] - other[name]) <= 2**0.5 * 1.3 * half[f"{name}_ci"] + 1e-9 for name in names]
    assert sum(inside) >= len(inside) - 2
    # each of 4 samples agrees with probability ½
    assert half["class_agreement_ci"] == pytest.approx(1.96 * (0.25 / 4 / 1000) ** 0.5, rel=0.1)


def test_references_are_those_of_their_definition(images):
    found = faithfulness(Exact(), FirstPixel(), Pixels(), images, n_samples=2)
    z = FirstPixel().encode(images).flatten(1)
    pairs = nn.functional.cosine_similarity(z[:, None], z[None], dim=2)
    off_diagonal = ~torch.eye(len(z), dtype=torch.bool)
    assert found["cosine_random"] == pytest.approx(pairs[off_diagonal].mean().item(), abs=0.03)
    nearest = pairs.masked_fill(~off_diagonal, -2).max(1).values.mean().item()
    assert found["cosine_nearest"] == pytest.approx(nearest, abs=1e-5)


def test_a_hard_negative_has_another_label(images):
    classes = torch.arange(len(images)) % 3
    found = faithfulness(Exact(), FirstPixel(), Pixels(), images, classes=classes)
    z = FirstPixel().encode(images).flatten(1)
    pairs = nn.functional.cosine_similarity(z[:, None], z[None], dim=2)
    other = classes[:, None] != classes
    negative = pairs.masked_fill(~other, -2).max(1).values.mean().item()
    assert found["cosine_negative"] == pytest.approx(negative, abs=1e-5)
    assert found["class_agreement_negative"] == pytest.approx(1, abs=0.01)  # these labels do not go by the first pixel
    sign = (z[:, 0] > 0).long()  # and these are the classes that the network predicts
    assert faithfulness(Exact(), FirstPixel(), Pixels(), images, classes=sign)["class_agreement_negative"] == 0


def test_there_is_none_within_one_class_or_without_labels(images):
    for classes in (None, torch.zeros(len(images), dtype=torch.long)):
        assert "cosine_negative" not in faithfulness(Exact(), FirstPixel(), Pixels(), images, classes=classes)


def test_a_collapsed_flow_has_no_diversity(images):
    found = faithfulness(Exact(spread=0), FirstPixel(), Pixels(), images)
    assert found["diversity"] == pytest.approx(0, abs=1e-6)
    assert found["class_agreement"] > 0.999


def test_hue_that_the_network_cannot_see_is_independent():
    # a network that sees the sum of the pixels knows nothing of the hue; nor does a flow of independent colours
    colours = torch.rand(1000, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = faithfulness(Exact(), FirstPixel(), Pixels(), colours)
    assert found["hue_agreement"] > 0.1  # red is kept, and the hue with it in part
    assert "hue_agreement" not in faithfulness(Exact(), FirstPixel(), Pixels(), torch.zeros(4, 3, 1, 1) + 0.3)


def test_the_batch_size_of_the_samples_changes_only_the_draws(images):
    one, many = (
        faithfulness(Exact(), FirstPixel(), Pixels(), images[:500], batch_size=size)["cosine_nearest"]
        for size in (7, 500)
    )
    assert one == pytest.approx(many, abs=1e-6)


def test_colours_of_all_samples_are_those_of_the_data_or_not():
    colours = torch.randn(600, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    covered = faithfulness(Blind(), FirstPixel(), Pixels(), colours)
    assert covered["hue_distance"] < covered["hue_distance_random_95"] < 0.2
    one = faithfulness(Exact(spread=0), FirstPixel(), Pixels(), colours)  # red or its opposite
    assert one["hue_distance"] > 0.6
    assert 0 < one["hue_distance_ci"] < 0.1


def test_grey_images_have_no_hue():
    grey = torch.randn(30, 1, 1, 1)

    class Grey(Exact):
        def forward(self, code, z):
            return code, torch.zeros(len(code))

        def sample(self, z, n, generator=None):
            return torch.randn((len(z), n, 1, 1, 1), generator=generator)

    found = faithfulness(Grey(), FirstPixel(), Pixels(), grey)
    assert "cosine" in found and not any(name.startswith("hue") for name in found)


class NoSplit(FirstPixel):
    """The same, where the class is that of the second pixel, which the representation does not hold."""

    splits = False

    def decode(self, z):
        raise AssertionError("z does not determine the output")

    def forward(self, x):
        return torch.cat([x[:, 1], -x[:, 1]], dim=1).flatten(1)


def test_classes_come_from_the_images_where_the_representation_is_no_split(images):
    found = faithfulness(Exact(), NoSplit(), Pixels(), images)
    assert found["cosine"] == pytest.approx(1, abs=1e-5)
    assert abs(found["class_agreement"] - 0.5) < 3 * found["class_agreement_ci"]
    assert found["class_agreement_autoencoder"] == 1


def test_one_image_is_refused(images):
    with pytest.raises(ValueError, match="at least 2"):
        faithfulness(Exact(), FirstPixel(), Pixels(), images[:1])


@pytest.mark.parametrize("arguments", [{"n_samples": 1}, {"batch_size": 0}])
def test_numbers_that_are_too_small(images, arguments):
    with pytest.raises(ValueError, match=r"^(n_samples is 1; expected 2|batch_size is 0; expected 1) or more$"):
        faithfulness(Exact(), FirstPixel(), Pixels(), images, **arguments)


class Broken(Exact):
    """A flow whose samples of the images with a positive first pixel are not finite."""

    def sample(self, z, n, generator=None):
        codes = super().sample(z, n, generator)
        return torch.where(z[:, None, :1] > 0, torch.nan, codes)


def test_what_is_not_finite_is_counted_and_refused(images):
    for broken in (torch.nan, torch.inf):
        some = images[:50].clone()
        some[[3, 7, 40], 1] = broken
        with pytest.raises(ValueError, match=r"^real images: 3 of 50 have pixels that are not finite$"):
            faithfulness(Exact(), FirstPixel(), Pixels(), some)
    n_broken = 4 * int((images[:50, 0] > 0).sum())
    with pytest.raises(ValueError, match=f"^samples: {n_broken} of 200 have codes that are not finite$"):
        faithfulness(Broken(), FirstPixel(), Pixels(), images[:50], n_samples=4)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("cinn", "real images: 20 of 20 have v that"),
        ("greybox", "real images: 20 of 20 have logits that"),
        ("autoencoder", "real images: 20 of 20 have codes that"),
        ("baseline", "the baseline's images: 20 of 20 have codes that"),
    ],
)
def test_a_network_that_gives_what_is_not_finite_is_found(images, network, message):
    networks = {"cinn": Blind(), "greybox": FirstPixel(), "autoencoder": Pixels(), "baseline": Conditional()}
    method = {"cinn": "forward", "greybox": "decode", "autoencoder": "encode", "baseline": "forward"}[network]
    whole = getattr(networks[network], method)

    def broken(*inputs):
        found = whole(*inputs)
        if isinstance(found, DiagonalGaussian):
            return DiagonalGaussian(found.mean * torch.nan, found.logvar, deterministic=True)
        return (found[0] * torch.nan, found[1]) if isinstance(found, tuple) else found * torch.nan

    setattr(networks[network], method, broken)
    with pytest.raises(ValueError, match=message):
        faithfulness(**networks, images=images[:20])


class Normed(Pixels):
    """An autoencoder with batch statistics."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def decode(self, code):
        return self.norm(code)


def states(*networks):
    return [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]


def flow():
    torch.manual_seed(0)
    return ConditionalTransformer(
        in_channels=3,
        mid_channels=4,
        hidden_depth=1,
        n_flows=1,
        conditioning_in_channels=2,
        conditioning_spatial_size=1,
    )


def test_networks_in_training_mode_are_measured_as_if_they_were_not(images):
    cinn, autoencoder, x = flow(), Normed(), images[:60]
    cinn(x, FirstPixel().encode(x))  # sets ActNorm's start
    before = states(cinn, autoencoder)
    training = faithfulness(cinn.train(), FirstPixel(), autoencoder.train(), x)
    assert all(module.training for network in (cinn, autoencoder) for module in network.modules())
    torch.testing.assert_close(states(cinn, autoencoder), before, rtol=0, atol=0)
    assert training == faithfulness(cinn.eval(), FirstPixel(), autoencoder.eval(), x)
    assert not any(module.training for network in (cinn, autoencoder) for module in network.modules())


def test_a_flow_that_was_never_trained_is_refused_and_stays_so(images):
    cinn = flow()
    before = states(cinn)
    with pytest.raises(ValueError, match="is not initialised"):
        faithfulness(cinn, FirstPixel(), Pixels(), images[:20])
    torch.testing.assert_close(states(cinn), before, rtol=0, atol=0)
    assert cinn.training
