"""Weights & Biases. A failure of the service never changes or ends a run."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

log = logging.getLogger(__name__)

START = 10  # seconds to wait for the service when a run begins
END = 60  # and when it ends, for the last uploads; the rest stays on disk
OFFLINE = "integrations/wandb: %s; working offline; upload later with wandb sync %s/wandb/*run-*"


class Wandb(Logger):
    """Log numbers and pictures of a training to Weights & Biases, in addition to the local logs.

    Without a key, or if the service cannot be reached, it works offline; `wandb sync` uploads the files later.
    Without the package, or after a failure, it does nothing. Each of these is logged once.

    Args:
        folder: the run's folder; its name is the run's id, also when it is resumed.
        config: resolved.
        project, entity: where the run belongs in Weights & Biases.
        active: if false, nothing is sent.
        handlers: kinds of data to send.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        project: str = "invariances",
        entity: str | None = None,
        active: bool = True,
        handlers: Sequence[Literal["scalars", "images"]] = ("scalars", "images"),
    ) -> None:
        super().__init__()
        self.folder, self.handlers = folder, handlers
        self._run: Any = None
        if active and rank_zero_only.rank == 0:  # type: ignore[attr-defined]  # Lightning sets it
            self._run = self._begin({"project": project, "entity": entity, "config": plain(config)})

    @property
    def name(self) -> str:
        """Name of the service."""
        return "wandb"

    @property
    def version(self) -> str:
        """Id of the run."""
        return self.folder.name

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send numbers."""
        if "scalars" in self.handlers:
            self._send({**metrics, "step": step})

    @rank_zero_only
    def log_image(self, name: str, pixels: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Send a picture."""
        if "images" in self.handlers and self._run is not None:
            import wandb

            self._send({name: wandb.Image(Image.fromarray(pixels)), "step": step})

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The config was sent at the start."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Finish uploading."""
        if self._run is not None:
            self._guarded(lambda run: run.finish(exit_code=0 if status == "success" else 1))
            self._run = None

    def _send(self, values: Mapping[str, Any]) -> None:
        self._guarded(lambda run: run.log(dict(values)))

    def _guarded(self, action: Any) -> None:
        """Call action(run); after a failure nothing more is sent."""
        try:
            if self._run is not None:
                action(self._run)
        except Exception as error:  # logged: a failure of the service must not end the training
            self._run = None
            log.warning("integrations/wandb: %s; nothing more is sent; the local logs continue", _first_line(error))

    def _begin(self, arguments: dict[str, Any]) -> Any:
        """The run object of wandb: online, or offline, or None."""
        folder = self.folder / "train"
        arguments |= {"dir": str(folder), "id": self.folder.name, "name": self.folder.name, "resume": "allow"}
        try:
            wandb = _package()
            return _start(wandb, arguments, _mode(wandb, folder))
        except ImportError as error:
            log.warning("integrations/wandb: %s; nothing is sent: pip install wandb", _first_line(error))
            return None
        except Exception as error:  # see `_guarded`
            log.warning(OFFLINE, _first_line(error), folder)
        try:
            wandb.teardown()  # ends the failed run
            return _start(wandb, arguments, "offline")
        except Exception as error:  # see `_guarded`
            log.warning("integrations/wandb: %s; nothing is sent", _first_line(error))
            return None


def _package() -> Any:
    import wandb

    if not hasattr(wandb, "init"):  # a folder of that name, where earlier runs left their files
        raise ImportError("the package wandb is missing")
    return wandb


def _mode(wandb: Any, folder: Path) -> str:
    """The mode in WANDB_MODE; by default online with a key and offline without one. Never prompts for a key."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    if wandb.login(prompt=False, verify=False):
        return "online"
    log.warning(OFFLINE, "there is no key, which wandb login stores", folder)
    return "offline"


def _start(wandb: Any, arguments: Mapping[str, Any], mode: str) -> Any:
    settings = wandb.Settings(silent=True, console="off", init_timeout=START, finish_timeout=END)
    run = wandb.init(**arguments, mode=mode, settings=settings)
    run.define_metric("*", step_metric="step")
    return run


def plain(value: Any) -> Any:
    """Convert a value to numbers, text, lists and dicts."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
