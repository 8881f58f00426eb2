import math

import pytest
import torch

from invariances.evaluation.metrics.faithfulness.variation import hue_coverage

K = 8  # samples of each image


def coloured(hues):
    """Images (…, 3, 1, 1) with these hues, and a chroma of ¾."""
    red, green, blue = (torch.cos(hues - angle) / 2 for angle in (0, 2 * math.pi / 3, -2 * math.pi / 3))
    return torch.stack([red, green, blue], dim=-1)[..., None, None]


def uniform(*shape, seed, share=1.0):
    return (2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1) * math.pi * share


def wrapped(hues):
    return (hues + math.pi) % (2 * math.pi) - math.pi


SAMPLERS = {  # hues of real images -> those of their samples; and the distance of their distributions
    "ignores the hue": (lambda hues, seed: uniform(len(hues), K, seed=seed), 0),
    "keeps it in part": (
        lambda hues, seed: wrapped(hues[:, None] + uniform(len(hues), K, seed=seed, share=0.3)),
        0,
    ),
    # uniform in half of the circle: the mean turn is π/4
    "half of the hues": (lambda hues, seed: uniform(len(hues), K, seed=seed, share=0.5), math.pi / 4),
    "a single hue": (lambda hues, seed: torch.ones(len(hues), K), math.pi / 2),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_intervals_hold_the_distance_of_the_distributions(sampler):
    sample, true = SAMPLERS[sampler]
    inside, above = 0, 0
    for seed in range(100):
        hues = uniform(100, seed=2 * seed)
        if sampler == "keeps it in part":  # the real hue is one more sample
            hues = wrapped(hues + uniform(100, seed=10**6 + seed, share=0.3))
            found = hue_coverage(coloured(hues), sample(wrapped(uniform(100, seed=2 * seed)), 2 * seed + 1))
        else:
            found = hue_coverage(coloured(hues), sample(hues, 2 * seed + 1))
        inside += abs(found["hue_distance"] - true) <= found["hue_distance_ci"]
        above += found["hue_distance"] > found["hue_distance_random_95"]
    assert inside >= 88
    assert above == 100 if true else above <= 12


def test_missing_hues_are_noticed():
    noticed = 0
    for seed in range(20):
        hues, samples = uniform(600, seed=2 * seed), uniform(600, K, seed=2 * seed + 1, share=0.9)
        found = hue_coverage(coloured(hues), samples)
        noticed += found["hue_distance"] > found["hue_distance_random_95"]
    assert noticed >= 17


def test_chance_is_the_mean_distance_of_an_exact_sampler():
    runs = [hue_coverage(coloured(uniform(50, seed=i)), uniform(50, K, seed=1000 + i)) for i in range(200)]
    mean = sum(run["hue_distance"] for run in runs) / len(runs)
    assert sum(run["hue_distance_random"] for run in runs) / len(runs) == pytest.approx(mean, rel=0.07)


def test_images_and_samples_without_a_hue_are_counted_and_left_out():
    hues, samples = uniform(400, seed=0), uniform(400, K, seed=1)
    images = coloured(hues)
    images[:100] = 0
    samples[200:300] = math.nan
    found = hue_coverage(images, samples)
    assert (found["hue_grey_images"], found["hue_grey_samples"]) == (0.25, 0.25)
    assert found["hue_grey_images_ci"] > 0
    assert found["hue_distance"] == pytest.approx(hue_coverage(images[100:], samples[100:])["hue_distance"])
    grey = hue_coverage(images[:100], samples[:100])
    assert grey["hue_grey_images"] == 1 and "hue_distance" not in grey
    assert "hue_distance" not in hue_coverage(images[200:300], samples[200:300])
