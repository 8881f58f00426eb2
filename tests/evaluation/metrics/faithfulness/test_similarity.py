import math

import pytest
import torch
from scipy import stats

from invariances.evaluation.metrics.estimate import Estimate
from invariances.evaluation.metrics.faithfulness import similarity
from invariances.evaluation.metrics.faithfulness.encoded import EncodedImages, GeneratedImages
from invariances.evaluation.metrics.faithfulness.retrieval import Gallery, retrieval
from invariances.evaluation.metrics.faithfulness.similarity import mean_similarities, similarities


def sets(n=6, k=3, d=50, n_classes=7, seed=0, channels=1):
    """Random images, and images made for them, with representations that are half zeros as behind a ReLU."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    real = EncodedImages(normal(n, channels, 2, 2), normal(n, 4, 1, 1), normal(n, d, 1, 1).relu(), normal(n, n_classes))
    made = normal(n, k, channels, 2, 2), normal(n, k, 4, 1, 1), normal(n, k, d, 1, 1).relu(), normal(n, k, n_classes)
    return real, GeneratedImages(*made)


def found(real, made):
    gallery = Gallery.of(real.z)
    measured = similarities(real, made, gallery.norm)
    measured |= retrieval(made, torch.arange(len(real.images)), gallery).numbers
    return {name: values.tolist() for name, values in measured.items()}


def test_correlations_are_scipys():
    real, made = sets()
    z, others = real.z.flatten(1).numpy(), made.z.flatten(2).numpy()
    pearson = [sum(stats.pearsonr(z[i], other)[0] for other in others[i]) / 3 for i in range(6)]
    spearman = [stats.spearmanr(z[i], others[i][0])[0] for i in range(6)]  # of the first that was made
    assert found(real, made)["pearson"] == pytest.approx(pearson, abs=1e-5)
    assert found(real, made)["spearman"] == pytest.approx(spearman, abs=1e-5)


def test_rank_correlation_of_large_representations_uses_a_part(monkeypatch):
    real, made = sets(n=20, d=4000)
    made = GeneratedImages(made.images, made.codes, made.z + 0.5 * real.z[:, None], made.logits)
    exact = [stats.spearmanr(real.z[i].flatten(), made.z[i, 0].flatten())[0] for i in range(20)]
    assert found(real, made)["spearman"] == pytest.approx(exact, abs=0.08)
    monkeypatch.setattr(similarity, "MOST_RANKED", 4000)
    assert found(real, made)["spearman"] == pytest.approx(exact, abs=1e-4)


def test_distances_are_those_of_their_definition():
    real, made = sets()
    z, others = real.z.flatten(1), made.z.flatten(2)
    norm = z.norm(dim=1).square().mean().sqrt()
    for i in range(6):
        cosine = sum(float(z[i] @ other / z[i].norm() / other.norm()) for other in others[i]) / 3
        relative = sum(float((z[i] - other).norm() / norm) for other in others[i]) / 3
        assert found(real, made)["cosine"][i] == pytest.approx(cosine, abs=1e-5)
        assert found(real, made)["relative_l2"][i] == pytest.approx(relative, abs=1e-5)


def test_rank_among_the_neighbours_of_what_was_made():
    z = torch.tensor([0.0, 1.0, 3.0, 6.0]).reshape(4, 1, 1, 1)
    real = EncodedImages(torch.zeros(4, 1, 1, 1), torch.zeros(4, 1, 1, 1), z, torch.zeros(4, 2))
    made = torch.tensor([[0.1, 2.9], [1.9, 1.0], [9.0, 2.0], [-5.0, 6.0]]).reshape(4, 2, 1, 1, 1)
    # 2.9 is nearest to 3, then to 1, then to 0; 1.9 to 1, then to 3; 9 to 6, then to 3; 2 is as near to 3 as to 1
    ranks = [[1, 3], [1, 1], [2, 1.5], [4, 1]]
    reciprocals = [[1, 1 / 3], [1, 1], [1 / 2, 3 / 4], [1 / 4, 1]]
    result = found(real, GeneratedImages(torch.zeros(4, 2, 1, 1, 1), made, made, torch.zeros(4, 2, 2)))
    assert result["retrieval_rank"] == [sum(r) / 2 for r in ranks]
    assert result["retrieval_mrr"] == pytest.approx([sum(r) / 2 for r in reciprocals])


def test_the_first_class_may_be_among_the_first_five():
    logits = torch.arange(7.0).repeat(2, 1)  # class 6 for both
    made = torch.tensor([[0.0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 1, 0, 2], [6, 5, 4, 3, 2, 1, 0]])
    real, others = sets(n=2)
    result = found(
        EncodedImages(real.images, real.codes, real.z, logits),
        GeneratedImages(others.images, others.codes, others.z, made.repeat(2, 1, 1)),
    )
    assert result["class_agreement"] == pytest.approx([1 / 3] * 2)
    assert result["class_agreement_top5"] == pytest.approx([2 / 3] * 2)  # 2 is the fifth largest logit of the second


def test_what_means_nothing_is_left_out():
    assert "class_agreement_top5" not in found(*sets(n_classes=5))  # each class is among five of five
    assert "hue_agreement" not in found(*sets(channels=1))
    real, made = sets()
    maps = (
        EncodedImages(real.images, real.codes, real.z, torch.zeros(6, 7, 4, 4)),
        GeneratedImages(made.images, made.codes, made.z, torch.zeros(6, 3, 7, 4, 4)),
    )
    assert "class_agreement" not in found(*maps)  # the output is no list of classes


def same(z):
    """Images with representations z (n, D), of which each generated one has the z of its real one."""
    n = len(z)
    real = EncodedImages(torch.zeros(n, 1, 2, 2), torch.zeros(n, 4, 1, 1), z, torch.zeros(n, 7))
    return found(real, real.as_generated())


def test_equal_images_share_their_ranks():
    constant = same(torch.full((5, 300), 0.1))
    assert constant["retrieval_rank"] == [3] * 5  # (n + 1)/2
    assert constant["retrieval_mrr"] == pytest.approx([(1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5] * 5)
    two = same(torch.randn(5, 300)[[0, 0, 1, 2, 3]])
    assert two["retrieval_rank"] == [1.5, 1.5, 1, 1, 1]
    assert two["retrieval_mrr"] == pytest.approx([0.75, 0.75, 1, 1, 1])


def test_ranks_of_close_images_are_not_rounded():
    z = torch.arange(60.0)[:, None] * 1e-5 + torch.ones(300)
    assert same(z)["retrieval_rank"] == [1] * 60


def test_equal_logits_have_the_same_class():
    assert same(torch.randn(3, 4))["class_agreement"] == same(torch.randn(3, 4))["class_agreement_top5"] == [1] * 3
    real, made = sets()
    logits = torch.tensor([0.0, 1, 1, 1, 1, 1, 1])  # classes 1 … 6 are equal, 1 is the first, 6 none of five
    tied = EncodedImages(real.images, real.codes, real.z, torch.eye(7)[[0, 1, 2, 5, 6, 6]])
    result = found(tied, GeneratedImages(made.images, made.codes, made.z, logits.expand(6, 3, 7)))
    assert result["class_agreement"] == [0, 1, 0, 0, 0, 0]
    assert result["class_agreement_top5"] == [0, 1, 1, 1, 0, 0]


def test_zero_is_equal_to_zero_alone():
    z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [0.3, 0.1]])
    made = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [0.2, 0.9]])[:, None]
    real = EncodedImages(torch.zeros(4, 1, 1, 1), torch.zeros(4, 1, 1, 1), z, torch.zeros(4, 2))
    result = found(real, GeneratedImages(torch.zeros(4, 1, 1, 1, 1), made, made, torch.zeros(4, 1, 2)))
    assert result["cosine"][:3] == [1, 0, 0] and 0 < result["cosine"][3] < 1
    assert result["pearson"] == pytest.approx([1, 0, 0, -1])
    norm = ((25 + 0.1) / 4) ** 0.5
    assert result["relative_l2"][:3] == pytest.approx([0, 5**0.5 / norm, 5 / norm])


def test_a_layer_that_is_always_zero():
    result = same(torch.zeros(3, 8))
    assert result["cosine"] == result["pearson"] == result["spearman"] == [1] * 3
    assert "relative_l2" not in result  # 0 / 0
    assert result["retrieval_rank"] == [2] * 3


def test_one_channel_has_no_correlation():
    assert not {"pearson", "spearman"} & set(same(torch.randn(4, 1)))


def test_hues_are_compared_where_both_images_have_one():
    red, green, grey = (torch.tensor(rgb).float().reshape(3, 1, 1) for rgb in ([1, -1, -1], [-1, 1, -1], [0, 0, 0]))
    real = EncodedImages(torch.stack([red, red, grey]), *[torch.ones(3, 2, 1, 1)] * 2, torch.zeros(3, 2))
    made = torch.stack([torch.stack(each) for each in ([red, grey], [green, red], [red, red])])
    result = found(real, GeneratedImages(made, *[torch.ones(3, 2, 2, 1, 1)] * 2, torch.zeros(3, 2, 2)))
    assert result["hue_agreement"] == pytest.approx([1, (1 - 1 / 2) / 2, math.nan], nan_ok=True)


def test_the_interval_of_perfect_retrieval_has_a_width():
    z = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    found = mean_similarities({"retrieval_mrr": torch.ones(100)}, {"retrieval_mrr": torch.zeros(2, 100)}, z, {})
    assert found["retrieval_mrr"].half_width == pytest.approx(Estimate.proportion(torch.ones(100)).half_width)
