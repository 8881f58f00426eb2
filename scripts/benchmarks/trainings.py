"""Steps of whole trainings beside what they consist of: the engine's loop, and epochs of cached representations."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.timing import Clock, Times, timed
from invariances.data.base import ImageSet
from invariances.data.loader import Loader
from invariances.flows import ConditionalTransformer
from invariances.iterators import CINNIterator, IINIterator
from invariances.models import BigAE, Greybox
from invariances.studies.quality import BEST
from invariances.training.representation_cache import CacheSettings, with_cache
from invariances.training.start import start

CONFIGS = Path(__file__).parents[2] / "configs/digits"
EDFLOW, BARE = "by edflow", "bare step"
CACHED, UNCACHED, FILLING = "from the cache", "from the images", "filling the cache"
N_WARM = 10  # steps that do not count
NO_EVALUATION = {"evaluation/grid": "null", "trainer/check_val_every_n_epoch": "1000", "trainer/accelerator": "cpu"}


def bare_step(task: Any, adam: torch.optim.Optimizer, batch: Any) -> None:
    adam.zero_grad()
    terms = task.terms(batch)
    (terms["loss"] + terms.get("baseline_loss", 0)).backward()
    adam.step()


class _Timed:
    """Times each step of a training, from one batch to the next, and beside it a bare step on the same batch."""

    clock: Clock
    times: Times

    def on_train_batch_start(self: Any, batch: Any, batch_idx: int) -> None:
        if not int(self.step):
            self.adam_of_bare = self.configure_optimizers()
            type(self).times = {BARE: [], EDFLOW: []}
        else:
            self.times[EDFLOW].append(1000 * (self.clock() - self.began))
        self.times[BARE].append(timed(lambda: bare_step(self, self.adam_of_bare, batch), self.clock))
        self.began = self.clock()
        super().on_train_batch_start(batch, batch_idx)


class TimedIIN(_Timed, IINIterator):
    """An IIN's training whose steps are timed."""


class TimedCINN(_Timed, CINNIterator):
    """A cINN's training whose steps are timed."""


def loop(task: Any, files: list[str], n_steps: int, clock: Clock, **overrides: str) -> Times:
    """Steps of a training of the digits by `edflow`, with first stages that have hardly been trained.

    Args:
        task: `TimedIIN` or `TimedCINN`.
        files: configs of the training.
        n_steps: of the training.
        clock: what to read.
        **overrides: of its config.
    """
    task.clock = staticmethod(clock)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # this process ends with the work
        os.environ["INVARIANCES_DATA"] = folder
        for first in ("clf", "ae"):
            start([CONFIGS / f"{first}.yaml"], {**NO_EVALUATION, "num_steps": "3", "decay_start": "1"}, train=True)
        settings = {"iterator": f"benchmarks.trainings.{task.__name__}", "num_steps": str(n_steps), **NO_EVALUATION}
        settings |= {"decay_start": "1", "evaluation/faithfulness": "null", "evaluation/interpolations": "null"}
        settings |= overrides
        start([CONFIGS / file for file in files], settings, train=True, allow=["benchmarks"])
    n_whole = len(task.times[EDFLOW])  # the last step has none after it
    return {name: values[N_WARM:n_whole] for name, values in task.times.items()}


def iin_loop(clock: Clock) -> Times:
    sizes = {"Transformer/n_flow": "12", "Transformer/hidden_dim": "512", "batch_size": "25"}
    return loop(TimedIIN, ["iin.yaml"], 50, clock, **sizes)


def digits_loop(clock: Clock) -> Times:
    return loop(TimedCINN, ["cinn.yaml", "layers/conv1.yaml"], 120, clock)


def epochs(clock: Clock, width: int, n_flows: int, n_images: int = 64, n_rounds: int = 5) -> Times:
    """Epochs of a cINN on AlexNet's fc6 and BigAE's codes, 128 px, with all networks random."""
    flow = ConditionalTransformer(128, width, 2, n_flows, 4096, 1)
    greybox, autoencoder = Greybox("torchvision:alexnet", "classifier.2"), BigAE(norm="bn")
    task = CINNIterator(flow, greybox, autoencoder, learning_rate=1e-4)
    adam = task.configure_optimizers()
    images = np.random.default_rng(0).integers(0, 256, (n_images, 3, 128, 128), dtype=np.uint8)
    loader = Loader(ImageSet(images, {}, seed=None), batch_size=16, shuffle=True)

    def epoch(loader: Loader) -> None:
        for batch in loader:
            bare_step(task, adam, batch)

    times: Times = {CACHED: [], UNCACHED: [], FILLING: []}
    epoch(loader)  # sets the ActNorms
    for n in range(n_rounds):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["INVARIANCES_DATA"] = folder
            times[UNCACHED].append(timed(lambda: epoch(loader), clock))
            began = clock()
            kept = with_cache(loader, task, CacheSettings(), {"round": n}, torch.device("cpu"))
            times[FILLING].append(1000 * (clock() - began))
            times[CACHED].append(timed(lambda kept=kept: epoch(kept), clock))
    return times


TRAININGS: dict[str, tuple[str, Callable[[Clock], Times]]] = {
    "iin_loop": ("IIN step in a training, batch 25", iin_loop),
    "digits_loop": ("cINN step of the digits in a training, cached, batch 50", digits_loop),
    "epochs": (
        "cINN epoch of 64 images, AlexNet fc6 + BigAE, 128 px, the papers' flow (204.6 M)",
        lambda clock: epochs(clock, 1024, 20),
    ),
    "study_epochs": (
        f"the same, the flow of a study of quality {BEST.name}",
        lambda clock: epochs(clock, BEST.mid_channels, BEST.n_flows),
    ),
}
