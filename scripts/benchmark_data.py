"""Images per second of the data sets, beside the same work done item by item with torchvision.

python scripts/benchmark_data.py             stand-in images; one core
python scripts/benchmark_data.py --data DIR  also one epoch over DIR/FashionMNIST through the real loader
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from invariances.data import FashionMNISTTrain
from invariances.data.base import BatchedDataset, ImageSet, resize
from invariances.data.cache import PictureFiles, PictureSet
from invariances.data.colors import ColorfulPairs
from invariances.data.loader import Loader
from invariances.data.pictures import Square

BATCH_SIZE = 100


class ItemByItem(Dataset):
    """One image at a time, as torchvision's data sets do it: a PIL image through a chain of transforms."""

    def __init__(
        self, load: Callable[[int], Image.Image], n: int, size: int, crop: int | None = None
    ) -> None:
        self.load, self.n = load, n
        steps = [v2.PILToTensor(), v2.Resize(size, antialias=True)]
        self.transform = v2.Compose([*([v2.CenterCrop(crop)] if crop else []), *steps])

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Tensor:
        image = self.transform(self.load(i))
        return (image + torch.rand(image.shape)) / 128 - 1


class PairByPair(Dataset):
    """Pairs of coloured images, one at a time."""

    def __init__(self, images: ItemByItem, classes: np.ndarray) -> None:
        self.images, self.classes = images, classes
        self.members = [np.flatnonzero(classes == k) for k in range(10)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        factor = int(torch.randint(2, ()))
        k = self.classes[i] if factor == 0 else (self.classes[i] + 1 + int(torch.randint(9, ()))) % 10
        partner = self.members[k][int(torch.randint(len(self.members[k]), ()))]
        color1 = torch.rand(3, 1, 1)
        color2 = torch.rand(3, 1, 1) if factor == 0 else color1
        pair = {"example1": self.images[i] * color1, "example2": self.images[partner] * color2}
        return {"factor": torch.tensor(factor), **pair}


def per_second(passes: Callable[[], Iterable], seconds: float = 1.0) -> float:
    """Examples per second of passes over batches, for about that time."""
    start, done = time.perf_counter(), 0
    while True:
        for _ in passes():
            done += BATCH_SIZE
            if time.perf_counter() - start > seconds:
                return done / (time.perf_counter() - start)


def compare(title: str, ours: BatchedDataset, theirs: Dataset, target: int) -> None:
    """Print both rates, each the best of three, and the ratio."""
    order = np.random.default_rng(0).permutation(len(ours))
    batches = [order[i : i + BATCH_SIZE].tolist() for i in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE)]
    fast = max(per_second(lambda: map(ours.__getitems__, batches)) for _ in range(3))
    loader = DataLoader(theirs, BATCH_SIZE, shuffle=True)
    slow = max(per_second(lambda: loader) for _ in range(3))
    print(f"{title:30} {fast:9,.0f}/s (expected {target:,}), {fast / slow:.0f}× item by item ({slow:,.0f}/s)")


def grey(n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Images of 28 pixels and classes, as MNIST has them."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8), rng.integers(0, 10, n)


def compare_small() -> None:
    """MNIST-like images and colour pairs."""
    images, classes = grey()
    labels = {"class": torch.from_numpy(classes)}
    large = resize(images, 32)
    single = ItemByItem(lambda i: Image.fromarray(images[i, 0]), len(images), 32)
    compare("MNIST-like, 1×32×32", ImageSet(large, labels, seed=0), single, 50_000)
    compare(
        "colour pairs, 2×3×32×32", ColorfulPairs(large, labels, seed=0), PairByPair(single, classes), 30_000
    )


def compare_cached(n: int = 2_000) -> None:
    """CelebA-like pictures, 178×218 JPEG, from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{i}.jpg" for i in range(n)]
        noise = np.random.default_rng(0).integers(0, 256, (n, 11, 9, 3), dtype=np.uint8)
        for path, small in zip(paths, noise, strict=True):
            Image.fromarray(small).resize((178, 218)).save(path)
        ours = PictureSet(PictureFiles("faces", paths, {}), Square(64, crop=160), "raise", seed=0, root=folder)
        theirs = ItemByItem(lambda i: Image.open(paths[i]).convert("RGB"), n, 64, crop=160)
        compare("cached, CelebA-like, 3×64×64", ours, theirs, 20_000)


def one_epoch(root: Path, n_workers: int) -> None:
    """Time an epoch over FashionMNIST through the loader that trains."""
    start = time.perf_counter()
    data = FashionMNISTTrain(root=str(root))
    opened = time.perf_counter()
    n = sum(len(batch["class"]) for batch in Loader(data, batch_size=25, shuffle=True, n_workers=n_workers))
    print(
        f"one epoch over FashionMNIST, {n_workers} workers, batch 25: {time.perf_counter() - opened:.2f} s "
        f"for {n:,} images, after {opened - start:.2f} s to open it; expected 3 s"
    )


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds FashionMNIST/")
    data = parser.parse_args().data
    torch.set_num_threads(1)
    compare_small()
    compare_cached()
    for n_workers in (0, 1) if data else ():
        one_epoch(data, n_workers)


if __name__ == "__main__":
    main()
