"""One run is one folder: its configs, checkpoints, logs and evaluations.

```
logs/2026-11-25T10-00-00_digits_ae/
    configs/2026-11-25T10-00-00-train.yaml      the resolved config of each start
    train/checkpoints/model-1500.ckpt           numbered by step
    train/                                      logs of the training
    eval/2026-11-25T11-00-00/                   one folder per evaluation
logs/latest                                     the run that was begun last
```
"""

import itertools
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from invariances.config.reading import dump, read_file
from invariances.errors import UserError
from invariances.utils import checkpoints
from invariances.utils.names import nearest

log = logging.getLogger(__name__)

ROOT = Path("logs")
LATEST = "latest:"
SAVED = "configs/????-??-??T??-??-??-*.yaml"


class Run:
    """A run folder.

    Args:
        path: the folder; `Run.create` makes a new one, `Run.open` goes back to one.
        config_file: the config that counts; by default the newest one.

    Attributes:
        checkpoints: the folder of its checkpoints.
        started: the time of this start, which names what it writes.
    """

    def __init__(self, path: Path, config_file: Path | None = None) -> None:
        self.path, self.config_file = path, config_file
        self.checkpoints = path / "train" / "checkpoints"
        self.started = _now()
        self._saved: Path | None = None  # the config that this start has written
        self._earlier: set[Path] = set()  # results that were there before this start

    @classmethod
    def create(cls, name: str, root: str | Path = ROOT) -> "Run":
        """A new folder `<time>_<name>`, unique even within a second; `latest` points to it.

        Raises:
            UserError: the folder cannot be made.
        """
        stem = f"{_now()}_{re.sub(r'[^A-Za-z0-9_.+=-]+', '-', name).strip('.-') or 'run'}"
        run = cls(_first_free(lambda suffix: _make_folder(Path(root, stem + suffix, "configs"))).parent)
        _point_latest(run.path, run.path.parent)
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run of a folder, or of a config inside one.

        Raises:
            UserError: there is no run.
        """
        given = Path(path)
        folder = given.parent.parent if given.is_file() and given.parent.name == "configs" else given
        if folder.is_symlink():  # `latest` may point elsewhere by the time the run ends
            folder = folder.parent / os.readlink(folder)
        if not folder.exists():
            near = nearest(given.name, [run.name for run in _folders(given.parent)])
            hint = f"; did you mean {given.with_name(near)}?" if near else ""
            raise UserError(f"{given}: no such run{hint}")
        if not folder.is_dir() or not any(folder.glob(SAVED)):
            raise UserError(f"{given}: is no run; expected a folder that holds configs/<time>-train.yaml")
        return cls(folder, given if given.is_file() else None)

    @classmethod
    def find(cls, text: str, root: str | Path = ROOT, debug: bool = False) -> "Run":
        """The run at a path; for `latest:EXPERIMENT`, the newest one of the experiment with a checkpoint.

        Args:
            text: a path, or `latest:EXPERIMENT`.
            root: where the runs are.
            debug: runs of `edflow -d` will do where there is no other one.

        Raises:
            UserError: there is none; names the command that makes one.
        """
        if not text.startswith(LATEST):
            return cls.open(text)
        name = text.removeprefix(LATEST)
        runs = [cls(folder) for folder in reversed(_folders(Path(root)))]
        for experiment in (name, f"{name}_debug")[: 1 + debug]:
            for run in runs:
                if run.has_checkpoints and run.experiment == experiment:
                    return run
        raise UserError(f"{text}: no such run with a checkpoint in {root}; {_how_to_make(name, runs)}")

    @property
    def experiment(self) -> str | None:
        """The `experiment_name` of the run's config; None where the config cannot be read."""
        with suppress(UserError):
            return self.config().get("experiment_name")
        return None

    def config(self) -> dict[str, Any]:
        """The newest config of a training in this run, or the newest of all where it never trained.

        Raises:
            UserError: it cannot be read.
        """
        if self.config_file is not None:
            return read_file(self.config_file)
        saved = sorted(self.path.glob(SAVED), key=_by_time)
        trained = [path for path in saved if "-train" in path.stem]
        if not saved:
            raise UserError(f"{self.path}: holds no config")
        return read_file((trained or saved)[-1])

    def save_config(self, config: Mapping[str, Any], kind: str) -> Path:
        """Write the resolved config of this start as `configs/<time>-<kind>.yaml`.

        Args:
            config: resolved.
            kind: `train` or `eval`.
        """
        text, now, folder = dump(config), _now(), self.path / "configs"
        self._earlier = self._results()
        self._saved = _first_free(lambda suffix: _write_new(folder / f"{now}-{kind}{suffix}.yaml", text))
        self.started = self._saved.stem.replace(f"-{kind}", "")
        return self._saved

    def new_evaluation(self) -> Path:
        """A new folder `eval/<time>`."""
        stem = self.path / "eval" / _now()
        return _first_free(lambda suffix: _make_folder(stem.with_name(stem.name + suffix)))

    @property
    def has_checkpoints(self) -> bool:
        """Whether the run has saved anything, damaged or not."""
        return bool(checkpoints.numbered(self.checkpoints))

    def last_checkpoint(self) -> Path:
        """The whole checkpoint with the highest step; damaged ones after it are named in the log.

        Raises:
            UserError: the run has none, or all of them are damaged.
        """
        files = checkpoints.numbered(self.checkpoints)
        for path in reversed(files):
            reason = checkpoints.damage(path)
            if reason is None:
                return path
            log.warning("%s: %s; the checkpoint before it is used", path, reason)
        if files:
            raise UserError(f"{files[-1]}: damaged, and so are all before it; start a new run")
        raise UserError(f"{self.path}: has no checkpoint yet; train it with: edflow -p {self.path} -t")

    def abandon(self) -> None:
        """Remove all that a start has written, if it failed before its first result; a new run goes as a whole."""
        if self._saved is None or self._results() - self._earlier:
            return
        self._saved.unlink(missing_ok=True)
        shutil.rmtree(self.path / "train" / "tensorboard" / self.started, ignore_errors=True)
        for folder in sorted((path for path in self.path.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):  # not empty: an earlier start's
                folder.rmdir()
        with suppress(OSError):
            self.path.rmdir()
            others = _folders(root := self.path.parent)
            _point_latest(others[-1] if others else None, root)
            root.rmdir()

    def _results(self) -> set[Path]:
        """The files of the run, without configs and the logs of TensorBoard, which exist before the first step."""
        files = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return {path for path in files if path.parts[0] != "configs" and path.parts[:2] != ("train", "tensorboard")}


def resolve_checkpoint(text: str, root: str | Path = ROOT, debug: bool = False) -> Path:
    """The checkpoint at a path; for `latest:EXPERIMENT`, the last one of the newest run of the experiment.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if text.startswith(LATEST):
        return Run.find(text, root, debug).last_checkpoint()
    checkpoints.require(Path(text))
    return Path(text)


def launch_command(path: Path) -> str:
    """How a config of the project is started: the line in its head comment, or with the file alone."""
    lines = re.findall(r"^#\s+(edflow -b .*-t)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return next((line for line in lines if path.as_posix() in line), f"edflow -b {path.as_posix()} -t")


def _how_to_make(experiment: str, runs: list[Run]) -> str:
    """The end of a message about an experiment that was never trained."""
    for path in sorted(Path("configs").rglob("*.yaml")):
        with suppress(UserError):
            if read_file(path).get("experiment_name") == experiment:
                return f"make one with: {launch_command(path)}"
    near = nearest(experiment, {run.experiment or "" for run in runs} - {""})
    return f"did you mean {LATEST}{near}?" if near else "train it first: edflow -b CONFIG -t"


def _folders(root: Path) -> list[Path]:
    """The run folders of a root, oldest first."""
    found = [path.parent for path in root.glob("*/configs") if not path.parent.is_symlink()]
    return sorted(found, key=_by_start)


def _by_start(folder: Path) -> tuple[str, bool, int, str]:
    """Sorts runs by their first start, whatever their folders are called now; a copy comes before its original."""
    first = min((path.name[:19] for path in folder.glob(SAVED)), default=folder.name[:19])
    return first, folder.name.startswith(first), len(folder.name), folder.name


def _by_time(path: Path) -> tuple[str, int, str]:
    """Sorts what is named `<time><name>` or `<time><name>-<number>`."""
    return path.name[:19], len(path.name), path.name


def _now() -> str:
    return datetime.now().strftime("%Y-%m-%dT%H-%M-%S")


def _first_free(make: Callable[[str], Path]) -> Path:
    """What `make` makes under the first suffix that is not taken; a second process may be at it too."""
    for number in itertools.count(1):
        with suppress(FileExistsError):
            return make("" if number == 1 else f"-{number}")
    raise AssertionError  # the count has no end


def _make_folder(path: Path) -> Path:
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    return path


def _write_new(path: Path, text: str) -> Path:
    with _explained(path), path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """A UserError in place of any OSError but the one that says that the path itself is taken."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            raise
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _point_latest(run: Path | None, root: Path) -> None:
    """Let `latest` point to a run, in one step; a file system without links goes without it."""
    latest, new = root / "latest", root / f".latest-{os.getpid()}"
    try:
        if run is None:
            latest.unlink(missing_ok=True)
        else:
            new.symlink_to(run.name)
            os.replace(new, latest)
    except OSError:
        new.unlink(missing_ok=True)
