import pytest
import torch

from invariances.data.base import BatchedDataset
from invariances.data.loader import First, Loader
from invariances.evaluation.random_indices import derangement, random_examples, random_subset

CPU = torch.device("cpu")


class Numbers(BatchedDataset):
    """Example i is the number i, with noise, and has class i // 100; `made` are the examples that were computed."""

    def __init__(self, n, pairs=False):
        super().__init__(n, {}, seed=0)
        self.pairs, self.made = pairs, []

    def make(self, index, streams):
        self.made += index.tolist()
        i = torch.from_numpy(index)
        image = (i + 0.1 * torch.from_numpy(streams.noise("noise", 1))[:, 0]).float().reshape(-1, 1, 1, 1)
        return {"example1": image, "example2": -image} if self.pairs else {"image": image, "class": i // 100}


@pytest.mark.parametrize("n", [2, 3, 50])
def test_a_derangement_is_one_cycle_through_all(n):
    for seed in range(20):
        indices, i, visited = derangement(n, seed), 0, []
        for _ in range(n):
            visited.append(i)
            i = int(indices[i])
        assert i == 0 and sorted(visited) == list(range(n))


def test_one_image_has_no_other():
    with pytest.raises(ValueError, match="at least 2"):
        derangement(1)


def test_images_sorted_by_class_are_paired_with_all_classes():
    classes = torch.arange(2000) // 1000
    changed = [(classes != classes[derangement(2000, seed)]).float().mean().item() for seed in range(5)]
    assert changed == pytest.approx([0.5] * 5, abs=0.06)


def test_a_subset_takes_each_example_equally_often_and_none_twice():
    subsets = torch.stack([random_subset(10, 4, seed) for seed in range(2000)])
    assert (subsets.diff(dim=1) > 0).all()
    assert subsets.flatten().bincount(minlength=10).tolist() == pytest.approx([800] * 10, abs=100)
    for n in (None, 10, 11):
        assert random_subset(10, n).tolist() == list(range(10))


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: First(data, 500)])
@pytest.mark.parametrize("n_workers", [0, 1])
def test_only_the_subset_is_read_in_epoch_0(wrap, n_workers):
    data = Numbers(1000)
    loader = Loader(wrap(data), 30, n_workers=n_workers)
    all_examples = torch.cat([batch["image"] for batch in loader])
    data.set_epoch(3)
    data.made.clear()
    batch = random_examples(loader, 100, CPU, seed=1)
    indices = random_subset(len(loader.dataset), 100, seed=1)
    assert torch.equal(batch["image"], all_examples[indices])
    assert torch.equal(batch["class"], indices // 100)
    assert len(data.made) < 110
    assert batch["class"].unique().tolist() == list(range(len(loader.dataset) // 100))


def test_all_examples_for_none_and_for_more_than_there_are():
    loader = Loader(Numbers(70), 30)
    expected = torch.cat([batch["image"] for batch in loader])
    for source in (loader, list(loader)):
        for n in (None, 70, 99):
            assert torch.equal(random_examples(source, n, CPU)["image"], expected)


def test_a_list_of_batches_gives_the_same_subset():
    loader = Loader(Numbers(70), 30)
    one, other = (random_examples(source, 20, CPU)["image"] for source in (loader, list(loader)))
    assert torch.equal(one, other)


def test_pairs_count_as_two():
    loader = Loader(Numbers(100, pairs=True), 30)
    images = random_examples(loader, 20, CPU)["image"].flatten()
    assert len(images) == 20 and len(images.abs().round().unique()) == 10
