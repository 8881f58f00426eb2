"""One run is one folder: its configs, checkpoints, logs and evaluations.

```
logs/2026-11-25T10-00-00_digits_ae/
    configs/2026-11-25T10-00-00-train.yaml      the resolved config of each start
    train/checkpoints/model-1500.ckpt           numbered by step
    train/                                      logs of the training
    eval/2026-11-25T11-00-00/                   one folder per evaluation
logs/latest                                     link to the newest run
```

Times are in UTC.
"""

import itertools
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from invariances.config.reading import dump, read_file
from invariances.errors import InvalidInput, UserError
from invariances.utils import checkpoints
from invariances.utils.files import free_space, held_by_one, remove_leftovers, require_own_files
from invariances.utils.names import nearest
from invariances.utils.shipped_configs import config_files
from invariances.zoo import zoo

log = logging.getLogger(__name__)

ROOT = Path("logs")
LATEST = "latest:"
UNFINISHED = ".unfinished"  # a file in the folder of an evaluation that was not yet written and logged in full
LONGEST_NAME = 150
LOCK = ".training"  # a file in the folder of a run that is being trained
SAVED = "configs/????-??-??T??-??-??-*.yaml"


class Run:
    """A run folder.

    Args:
        path: the folder; see `Run.create` and `Run.open`.
        config_file: the config of the run; by default the newest one.

    Attributes:
        checkpoints: the folder of its checkpoints.
        started: time of this start, part of the names of its files.
        evaluation_name: part of the name of the next evaluation's folder.
    """

    def __init__(self, path: Path, config_file: Path | None = None) -> None:
        self.path, self.config_file = path, config_file
        self.checkpoints = path / "train" / "checkpoints"
        self.started = _now()
        self.evaluation_name: str | None = None
        self._saved: Path | None = None  # the config of this start
        self._folders: list[Path] = []  # that this start writes its results to
        self._earlier: set[Path] = set()  # files and folders that existed before
        self._lock: Path | None = None  # while this process trains the run

    @classmethod
    def create(cls, name: str, root: str | Path = ROOT) -> "Run":
        """A new folder `<time>_<name>`, unique even within a second; `latest` points to it.

        Raises:
            UserError: the folder cannot be made.
        """
        if len(name) > LONGEST_NAME:
            raise UserError(f"-n {name[:20]}…: has {len(name)} characters; expected at most {LONGEST_NAME}")
        stem = f"{_now()}_{_file_name(name) or 'run'}"
        run = cls(_first_free(lambda suffix: _make_folder(Path(root, stem + suffix, "configs"))).parent)
        _point_latest(run.path, run.path.parent)
        return run

    @classmethod
    def at(cls, folder: Path) -> "Run":
        """A new run in a folder of this name, which may exist if it holds no run.

        Raises:
            UserError: the folder cannot be made.
        """
        with _write_errors(folder):
            (folder / "configs").mkdir(parents=True, exist_ok=True)
        return cls(folder)

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run of a folder, or of a config inside one.

        Raises:
            UserError: there is none.
        """
        given = Path(path)
        folder = given.parent.parent if given.is_file() and given.parent.name == "configs" else given
        if folder.is_symlink():  # `latest` may be changed before the run ends
            folder = folder.parent / os.readlink(folder)
        if not folder.exists():
            near = nearest(given.name, [run.name for run in _folders(given.parent)])
            hint = f"; did you mean {given.with_name(near)}?" if near else ""
            raise UserError(f"{given}: no such run{hint}")
        if not folder.is_dir() or not any(folder.glob(SAVED)):
            raise UserError(f"{given}: is not a run; expected a folder with configs/<time>-train.yaml")
        return cls(folder, given if given.is_file() else None)

    @classmethod
    def find(cls, text: str, root: str | Path = ROOT, debug: bool = False) -> "Run":
        """The run at a path; for `latest:EXPERIMENT`, the newest one of the experiment with a checkpoint.

        Args:
            text: a path, or `latest:EXPERIMENT`.
            root: where the runs are.
            debug: fall back to runs of `edflow -d`.

        Raises:
            UserError: there is none; the message has the command that creates one.
        """
        if not text.startswith(LATEST):
            return cls.open(text)
        name = text.removeprefix(LATEST)
        runs = cls.all(root)
        for experiment in (name, f"{name}_debug")[: 1 + debug]:
            for run in runs:
                if run.has_checkpoints and run.experiment == experiment:
                    return run
        if waiting := next((run.path for run in runs if run.experiment == name), None):
            raise UserError(
                f"{text}: {waiting} has no checkpoint yet; wait for its first one, or train it with: "
                f"edflow -p {waiting} -t"
            )
        raise UserError(f"{text}: no such run with a checkpoint in {root}; {_how_to_make(name, runs)}")

    @classmethod
    def all(cls, root: str | Path = ROOT) -> "list[Run]":
        """The runs in a folder, newest first; none if there is no such folder."""
        return [cls(folder) for folder in reversed(_folders(Path(root)))]

    @property
    def experiment(self) -> str | None:
        """The `experiment_name` of the run's config; None if it cannot be read."""
        with suppress(UserError):
            return self.config().get("experiment_name")
        return None

    def config(self) -> dict[str, Any]:
        """The newest config of a training in this run, or of an evaluation if there was no training.

        Raises:
            UserError: it cannot be read.
        """
        path = self.config_path()
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is no file; remove it")  # a pipe would be waited for
        return read_file(path)

    def config_path(self) -> Path:
        """The file of `config`.

        Raises:
            UserError: there is none.
        """
        if self.config_file is not None:
            return self.config_file
        saved = sorted(self.path.glob(SAVED), key=_by_time)
        trained = [path for path in saved if "-train" in path.stem]
        if not saved:
            raise UserError(f"{self.path}: has no config")
        return (trained or saved)[-1]

    def save_config(self, config: Mapping[str, Any], kind: str) -> Path:
        """Write the resolved config of this start as `configs/<time>-<kind>.yaml`.

        Args:
            config: resolved.
            kind: `train` or `eval`.

        Raises:
            UserError: it cannot be written; see `require_own`.
        """
        self.require_own()
        text, now, folder = dump(config), _now(), self.path / "configs"
        self._earlier = set(self.path.rglob("*"))
        self._saved = _first_free(lambda suffix: _write_new(folder / f"{now}-{kind}{suffix}.yaml", text))
        self.started = self._saved.stem.replace(f"-{kind}", "")
        self._folders = [self.path / "train"] if kind == "train" else []
        return self._saved

    def require_own(self) -> None:
        """Refuse to write into a folder in which that may not be safe.

        Raises:
            UserError: a link in the folder leads out of it, or there is a pipe or device.
        """
        try:
            require_own_files(self.path)
        except InvalidInput as error:
            raise UserError(f"{self.path}: {error}") from error

    def new_evaluation(self) -> Path:
        """A new folder `eval/<time>`, or `eval/<time>_<name>` if the evaluation has a name."""
        name = _file_name(self.evaluation_name or "")
        stem = self.path / "eval" / (f"{_now()}_{name}" if name else _now())
        folder = _first_free(lambda suffix: _make_folder(stem.with_name(stem.name + suffix)))
        self._folders.append(folder)
        return folder

    @contextmanager
    def trained_by_one(self) -> Iterator[None]:
        """Keep other processes from training this run at the same time.

        Raises:
            UserError: another process is training it; see `require_own`.
        """
        self.require_own()  # the lock is a file in the folder, too
        with ExitStack() as stack:
            with _write_errors(self.path):
                holder = stack.enter_context(held_by_one(self.path / LOCK))
            if holder is not None:
                raise UserError(
                    f"{self.path} is being trained by process {holder}; wait until it ends, or stop it: kill {holder}"
                )
            self._lock = self.path / LOCK
            remove_leftovers(self.path / "train")
            try:
                yield
            finally:
                self._lock = None

    @property
    def has_checkpoints(self) -> bool:
        """Whether the run has checkpoints, damaged or not."""
        return bool(checkpoints.numbered(self.checkpoints))

    def last_checkpoint(self) -> Path:
        """The checkpoint with the highest step that is not damaged; later ones are logged.

        Raises:
            UserError: the run has none, or all of them are damaged.
        """
        files = checkpoints.numbered(self.checkpoints)
        for path in reversed(files):
            reason = checkpoints.damage(path)
            if reason is None:
                return path
            log.warning("%s: %s; using the checkpoint before it", path, reason)
        if files:
            raise UserError(f"{files[-1]}: damaged, like all before it; start a new run")
        raise UserError(f"{self.path}: has no checkpoint yet; train it with: edflow -p {self.path} -t")

    def abandon(self) -> None:
        """Remove what this start has written, if it failed before its first result; a new run is removed as a whole.

        Files of earlier starts and of other processes stay.
        """
        if self._results():
            return
        if self._lock is not None:
            self._lock.unlink(missing_ok=True)
        if self._saved is not None:
            self._saved.unlink(missing_ok=True)
        if self.path / "train" in self._folders:
            self._delete_events()
        made = [path for path in self._outputs() if path.is_dir() and path not in self._earlier]
        for folder in (*sorted(made, reverse=True), self.path / "eval", self.path / "configs", self.path):
            with suppress(OSError):  # not empty
                folder.rmdir()
        if not any(self.path.glob(SAVED)):
            _forget(self.path.parent)

    @property
    def _events(self) -> Path:
        """The folder of TensorBoard's files, which a training writes before its first step."""
        return self.path / "train" / "tensorboard"

    def _delete_events(self) -> None:
        for path in self._events.glob("*"):
            if path.is_file() and path not in self._earlier:
                path.unlink(missing_ok=True)

    def _outputs(self) -> Iterator[Path]:
        """The folders that this start writes to, and everything in them."""
        for folder in self._folders:
            yield folder
            yield from folder.rglob("*")

    def _results(self) -> list[Path]:
        """The files that this start has written, without its config and TensorBoard's files."""
        written = [p for p in self._outputs() if p.is_file() and p not in self._earlier]
        return [p for p in written if self._events not in p.parents]


def resolve_checkpoint(text: str, root: str | Path = ROOT, debug: bool = False) -> Path:
    """The checkpoint at a path; for `latest:EXPERIMENT`, the last one of the newest run of the experiment.

    A name of the zoo, or `hub:user/name`, is downloaded; see `invariances.zoo`.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if text.startswith(LATEST):
        return Run.find(text, root, debug).last_checkpoint()
    path = zoo.find(text)
    checkpoints.require(path)
    return path


def grouped_by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups whose configs differ in their seed alone, in the order of their first.

    Runs with the same seed, which repeat each other, are in different groups.

    Raises:
        UserError: a config cannot be read.
    """
    groups: list[tuple[dict[str, Any], dict[int, Run]]] = []
    for run in runs:
        config = run.config()
        seed = config.pop("seed", 0)
        group = next((group for other, group in groups if other == config and seed not in group), None)
        if group is None:
            groups.append((config, group := {}))
        group[seed] = run
    return [list(group.values()) for _, group in groups]


def launch_command(name: str, path: Path) -> str:
    """The command that trains a config: the one in its head comment, or else `edflow -b NAME -t`.

    Args:
        name: the path that users type.
        path: the file.
    """
    lines = re.findall(r"^#\s+(edflow -b .*-t(?: --\S+ \S+)*)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return next((line for line in lines if name in line), f"edflow -b {name} -t")


def _how_to_make(experiment: str, runs: list[Run]) -> str:
    """The end of the message about an experiment without runs: a command, or the nearest name."""
    for name, path in config_files().items():
        with suppress(UserError):
            if read_file(path).get("experiment_name") == experiment:
                return f"create one with: {launch_command(name, path)}"
    near = nearest(experiment, {run.experiment or "" for run in runs} - {""})
    return f"did you mean {LATEST}{near}?" if near else "train it first: edflow -b CONFIG -t"


def _folders(root: Path) -> list[Path]:
    """The run folders of a root, oldest first."""
    found = [path.parent for path in root.glob("*/configs") if not path.parent.is_symlink()]
    return sorted(found, key=_by_start)


def _by_start(folder: Path) -> tuple[str, bool, int, str]:
    """Sort key of runs: their first start, also for renamed folders; a copy comes before its original."""
    first = min((path.name[:19] for path in folder.glob(SAVED)), default=folder.name[:19])
    return first, folder.name.startswith(first), len(folder.name), folder.name


def _by_time(path: Path) -> tuple[str, int, str]:
    """Sort key of files named `<time><name>` or `<time><name>-<number>`."""
    return path.name[:19], len(path.name), path.name


def _now() -> str:
    """The time in UTC: runs are ordered by their names, which local time would mix up."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H-%M-%S")


def _file_name(text: str) -> str:
    """The characters of a text that are safe in the name of a folder."""
    return re.sub(r"[^A-Za-z0-9_.+=-]+", "-", text).strip(".-")


def _first_free(make: Callable[[str], Path]) -> Path:
    """The path that `make` creates with the first suffix that is free, also among several processes."""
    for number in itertools.count(1):
        with suppress(FileExistsError):
            return make("" if number == 1 else f"-{number}")
    raise AssertionError  # unreachable: the count has no end


def _make_folder(path: Path) -> Path:
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    return path


def _write_new(path: Path, text: str) -> Path:
    with _write_errors(path), path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink()  # half a config would count as one
            raise
    return path


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Raise a UserError in place of an OSError, except a FileExistsError for the path itself."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            raise
        raise UserError(f"{path}: cannot be written ({error.strerror}); {free_space(path)}") from error


def _forget(root: Path) -> None:
    """Point `latest` to the newest of the remaining runs, or remove it, and the root if it is empty."""
    runs = _folders(root)
    _point_latest(runs[-1] if runs else None, root)
    with suppress(OSError):  # not empty
        root.rmdir()


def _point_latest(run: Path | None, root: Path) -> None:
    """Point `latest` to a run, atomically; does nothing on a file system without links."""
    latest, new = root / "latest", root / f".latest-{os.getpid()}"
    try:
        if run is None:
            latest.unlink(missing_ok=True)
        else:
            new.symlink_to(run.name)
            os.replace(new, latest)
    except OSError:
        new.unlink(missing_ok=True)
