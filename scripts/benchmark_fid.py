"""Time and memory of FID's numerics at Inception's 2,048 features.

    python scripts/benchmark_fid.py [--features 2048] [--images 10000] [--threads 1]

Prints the time of the Fréchet distance beside that of scipy's matrix square root on the same covariances, the
time of the distance of two small sets, and the peak memory of statistics of features that stream by.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from invariances.evaluation.metrics.fid.frechet import FeatureStatistics, frechet_distance

Result = TypeVar("Result")


def timed(label: str, work: Callable[[], Result], repeats: int = 3) -> tuple[float, Result]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    print(f"{label:<58} {min(seconds):8.3f} s", flush=True)
    return min(seconds), result


def by_square_root(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> float:
    """What pytorch-fid and TTUR compute."""
    root = sqrtm((cov1 @ cov2).numpy())
    return float((mu1 - mu2).square().sum() + cov1.trace() + cov2.trace() - 2 * np.trace(root).real)


def features(seed: int, n: int, mixing: Tensor) -> Tensor:
    """Correlated features ≥ 0 with decaying variances, as a network's last layer has them."""
    noise = torch.randn(n, len(mixing), generator=torch.Generator().manual_seed(seed))
    return (noise @ mixing + 0.4).relu()


def stream(n_images: int, mixing: Tensor, seed: int) -> FeatureStatistics:
    statistics = FeatureStatistics()
    for start in range(0, n_images, 50):
        statistics.update(features(seed * n_images + start, min(50, n_images - start), mixing))
    return statistics


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"{args.features} features, {args.images} images, {args.threads} thread(s), torch {torch.__version__}"
    )

    spectrum = torch.logspace(0, -2, args.features)
    mixing = torch.randn(args.features, args.features) * spectrum / args.features**0.5
    features(0, 50, mixing)  # warm up
    before = peak_megabytes()
    _, real = timed(
        "statistics, streaming in batches of 50", lambda: stream(args.images, mixing, 1), repeats=1
    )
    after = peak_megabytes()
    samples = stream(args.images, mixing * 1.1, 2)
    everything = args.images * args.features * 8 / 2**20
    print(f"  peak memory grew by {after - before:.0f} MB; all features together have {everything:.0f} MB")

    moments = (real.mean, real.cov, samples.mean, samples.cov)
    ours, distance = timed("frechet_distance", lambda: frechet_distance(*moments))
    theirs, expected = timed("the same by scipy.linalg.sqrtm", lambda: by_square_root(*moments), repeats=1)
    print(f"  {theirs / ours:.1f} times faster; {distance:.9f} and {expected:.9f}")

    few = [stream(100, mixing * scale, seed) for scale, seed in ((1, 3), (1.1, 4))]
    timed("distance of 2 sets of 100 images", lambda: few[0].distance(few[1]))


if __name__ == "__main__":
    main()
