import numpy as np
import pytest
import torch

from invariances.evaluation.pictures.grid import Grid


class Task:
    device = torch.device("cpu")

    def views(self, images, n_samples, generator):
        return [("input", images)]


def batches(classes, **labels):
    """Images as bright as their class, in two batches."""
    classes = torch.tensor(classes)
    batch = {"image": (classes / 255)[:, None, None, None].repeat(1, 1, 2, 2) * 2 - 1}
    batch |= {name: classes for name in labels}
    half = len(classes) // 2
    return [{key: value[part] for key, value in batch.items()} for part in (slice(half), slice(half, None))]


@pytest.mark.parametrize(
    ("classes", "labels", "shown"),
    [
        ([7, 7, 7, 7, 3, 3, 5, 7], {"class": True}, [7, 3, 5, 7]),
        ([7, 7, 7, 7, 3, 3, 5, 7], {}, [7, 7, 7, 7]),
    ],
)
def test_the_images_are_of_different_classes_where_these_are_known(tmp_path, classes, labels, shown):
    Grid(n_images=4)(Task(), batches(classes, **labels), tmp_path)
    with np.load(tmp_path / "grid.npz") as views:
        assert views["input"][:, 0, 0, 0].tolist() == shown
