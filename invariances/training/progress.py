"""Output of a training or an evaluation in the terminal."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from invariances.training.callbacks import Evaluations


class Progress(pl.Callback):
    """A progress bar over all steps of the run, with the losses; one line for each evaluation."""

    def __init__(self, num_steps: int, evaluations: Evaluations) -> None:
        self.num_steps, self.evaluations = num_steps, evaluations
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self.bar = tqdm(
                total=self.num_steps,
                initial=int(pl_module.step),
                unit="step",
                dynamic_ncols=True,
                mininterval=0.5 if sys.stderr.isatty() else 10,  # few lines in a log file
            )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.bar is not None and self.bar.update():
            losses = {k.removeprefix("train/"): v for k, v in trainer.callback_metrics.items() if "train/" in k}
            self.bar.set_postfix({k: f"{v:.4g}" for k, v in losses.items()}, refresh=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            numbers = headlines(self.evaluations.numbers)
            line = "  ".join(_next_to_training(numbers, trainer.callback_metrics))
            tqdm.write(f"step {int(pl_module.step)}: {line}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.close()


def _next_to_training(numbers: Mapping[str, Any], logged: Mapping[str, Any]) -> Iterator[str]:
    """Names and values; of a loss on held-out examples also that of the last training batch.

    >>> list(_next_to_training({"validation/loss": -30.0, "cosine": 0.9}, {"train/loss": -37.0}))
    ['loss -30 (train -37)', 'cosine 0.9']
    """
    for name, value in numbers.items():
        short = name.removeprefix("validation/")
        trained = logged.get(f"train/{short}") if short != name else None
        yield f"{short} {value:.4g}" + (f" (train {float(trained):.4g})" if trained is not None else "")


class EvaluationProgress(pl.Callback):
    """A progress bar over a validation pass, then its numbers with their 95 % intervals, one per line."""

    bar: tqdm

    def __init__(self, evaluations: Evaluations) -> None:
        self.evaluations = evaluations

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.bar = tqdm(total=sum(map(int, trainer.num_val_batches)), desc="validation", unit="batch")

    def on_validation_batch_end(self, *_: Any) -> None:
        self.bar.update()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.bar.close()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        numbers = self.evaluations.numbers
        for name, value in headlines(numbers).items() if trainer.is_global_zero else ():
            interval = f" ± {numbers[f'{name}_ci']:.2g}" if f"{name}_ci" in numbers else ""
            print(f"{name.removeprefix('validation/'):32} {value:.4g}{interval}")


def headlines(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers without those that belong to another one, such as its references and its interval.

    >>> headlines({"cosine": 0.98, "cosine_random": 0.5, "cosine_ci": 0.01, "probe_accuracy": 0.1})
    {'cosine': 0.98, 'probe_accuracy': 0.1}
    """
    details = {name for name in numbers for other in numbers if name.startswith(f"{other}_")}
    return {name: value for name, value in numbers.items() if name not in details}
