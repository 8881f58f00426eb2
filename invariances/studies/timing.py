"""What the trainings of a study will take: time from a few measured steps, memory and disk from their sizes."""

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invariances.config.signatures import call
from invariances.flows import ConditionalTransformer
from invariances.losses import AutoencoderLoss, flow_nll
from invariances.models import MLP, Autoencoder, Layer
from invariances.studies.inputs.network_given import GivenNetwork
from invariances.studies.recipes import Config

N_STEPS = 5  # measured, after one that is not
OVERHEAD = 0.005  # seconds of a step for the engine: logs, learning rate, random numbers
MOST_TIME = 1.0  # seconds for the measured steps of one training
START = 1.6  # start of a training, over that of the command itself
MANY, FEW = 16, 2  # images by which the frozen networks are measured, and those
SLOW = 0.1  # seconds for one image, from which on there are few
SAMPLES = 8  # of each image in the evaluations
JUDGING = 2.2  # time of an evaluation, over that of its samples
PROBES = 6.0  # seconds of an evaluation for classifiers and regressions
BASE = 0.9e9  # bytes of a process with its libraries
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
WORK = """
import os
import numpy
parent, a = os.getppid(), numpy.ones((256, 256), dtype="float32")
while os.getppid() == parent:
    a @ a
"""
BYTES = {"float32": 4, "float16": 2}


@dataclass(frozen=True)
class Cost:
    """What a training takes.

    Attributes:
        step: seconds of a step.
        once: seconds of all else: start, representations, evaluation.
        memory, disk: bytes.
    """

    step: float
    once: float
    memory: float
    disk: float

    def time(self, n_steps: int) -> float:
        """Seconds of the whole training."""
        return self.once + n_steps * self.step


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use n threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def company(n: int) -> Iterator[None]:
    """Have n other processes at work, as trainings side by side are: processors often share what computes."""
    others = [subprocess.Popen([sys.executable, "-c", WORK], env=os.environ | {BLAS_THREADS: "1"}) for _ in range(n)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def device() -> torch.device:
    """On which trainings run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measured(step: Callable[[], object]) -> float:
    """Seconds of a step: the median of a few, after one that is not counted."""
    times: list[float] = []
    began = time.perf_counter()
    step()
    while len(times) < N_STEPS and (not times or time.perf_counter() - began < MOST_TIME):
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def autoencoder_cost(config: Config, images: Tensor, n_judged: int) -> Cost:
    """The cost of an autoencoder's training.

    Args:
        config: of the training.
        images: a batch of it.
        n_judged: images of its evaluation.
    """
    model = Autoencoder(**config["Model"]).to(device())
    loss = call(AutoencoderLoss, config["Loss"]).to(device())
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], lr=1e-4)
    images = images.to(device())

    def step() -> None:
        rebuilt, posterior = model(images)
        total, _ = loss.generator_loss(images, rebuilt, posterior, model.last_layer, 0)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    taken = OVERHEAD + measured(step)
    weights = sum(weight.numel() for weight in model.parameters())
    return Cost(taken, started() + n_judged / len(images) * taken, BASE + 16 * weights, 24.0 * weights)


def flow_cost(
    config: Config, layer: Layer, rates: "Rates", n_images: int, n_judged: int, batch_size: int
) -> Cost:
    """The cost of a flow's training.

    Args:
        config: of the training.
        layer: under study.
        rates: of the frozen networks.
        n_images: training images, whose representations are computed once.
        n_judged: images of its evaluation.
        batch_size: of the training.
    """
    flow = ConditionalTransformer(**config["Transformer"]).to(device())
    n_values = math.prod(layer.shape)
    baseline = MLP(n_values, flow.in_channels, config["baseline_dim"], 2).to(device())
    code = torch.randn(batch_size, flow.in_channels, 1, 1, device=device())
    z = torch.randn(batch_size, *layer.shape, device=device())
    parameters = [*flow.parameters(), *baseline.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True)

    def step() -> None:
        v, logdet = flow(code, z)
        total = flow_nll(v, logdet) + (baseline(z) - code).square().mean()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    taken = OVERHEAD + measured(step)
    weights = sum(weight.numel() for weight in parameters)
    samples = n_judged * SAMPLES * (rates.network + 2 * rates.decoder + taken / batch_size)
    once = started() + n_images * (rates.network + rates.encoder) + JUDGING * samples + PROBES
    row = n_values * BYTES[config["cache"]["precision"]]
    held = n_judged * (SAMPLES + 4) * n_values * 4 / 10
    return Cost(taken, once, BASE + 20 * weights + held, 36.0 * weights + n_images * row)


@dataclass(frozen=True)
class Rates:
    """Seconds for an image: of the network under study, and of the autoencoder's two halves."""

    network: float
    encoder: float
    decoder: float


@torch.no_grad()
def frozen_rates(network: GivenNetwork, autoencoder: Any, images: Tensor) -> Rates:
    """Measure the frozen networks.

    Args:
        network: under study.
        autoencoder: with `encode` and `decode`.
        images: a batch.
    """
    studied = network.loaded.network.eval()
    start = time.perf_counter()
    studied(network.loaded.preprocess(images[:1]))
    few = images[: FEW if time.perf_counter() - start > SLOW else MANY]
    taken = measured(lambda: studied(network.loaded.preprocess(few)))
    code = autoencoder.encode(few).mode()
    halves = [measured(lambda: autoencoder.encode(few)), measured(lambda: autoencoder.decode(code))]
    return Rates(*(value / len(few) for value in (taken, *halves)))


_BEGAN = time.process_time()


def started() -> float:
    """Seconds until a training begins: this process has taken as long for most of the same imports."""
    return START * max(_BEGAN, 2.0)
