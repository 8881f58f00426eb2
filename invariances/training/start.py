"""Start a training or an evaluation: resolve its config, its checkpoint and its run folder."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from invariances.config.allowing import folders_typed, judging, modules_here, modules_typed, remember
from invariances.config.checking import check
from invariances.config.reading import dump, merge, merged, read
from invariances.config.resolving import resolve
from invariances.errors import UserError
from invariances.training.run import SAVED, Run, resolve_checkpoint
from invariances.utils import checkpoints
from invariances.utils.files import failed_writing_explained
from invariances.utils.signals import FIRST_PROCESS

log = logging.getLogger(__name__)

JOINED = "INVARIANCES_RUN"  # the run folder, for the processes that Lightning starts for further devices
JOINING = timedelta(minutes=10)  # until the first process has made it
UNSET = "unset"


def start(
    files: Sequence[str | Path],
    overrides: Mapping[str, str] | None = None,
    train: bool = False,
    project: str | None = None,
    checkpoint: str | None = None,
    name: str | None = None,
    retrain: bool = False,
    debug: bool = False,
    allow_other_network: bool = False,
    allow: Sequence[str] = (),
    folder: Path | None = None,
) -> None:
    """Check everything, then train or evaluate.

    Args:
        files: YAML files, merged left to right.
        overrides: `Section/key` -> YAML text.
        train: train; by default evaluate.
        project: an earlier run; the files are merged into its config.
        checkpoint: a path, or latest:EXPERIMENT; that of the config, or the last one of the project, is the default.
        name: of a new run's folder, where the experiment's name is the default; or of the evaluation of a project.
        retrain: start at step 0, from the weights of the checkpoint.
        debug: a few steps on a few examples, in a new run.
        allow_other_network: use a checkpoint whose frozen networks were others than those of the config.
        allow: packages and modules whose classes configs may call, see `invariances.config.allowing`.
        folder: of a new run; by default a new one in `logs`.

    Raises:
        UserError: a mistake in any of these; no new files are left then.
    """
    earlier = None if project is None else Run.find(project, debug=debug)
    base = {} if earlier is None else earlier.config()
    remember_own(files, overrides or {}, allow)
    with judging(*files, *([] if earlier is None else [earlier.config_path()])):
        config = read(files, overrides, base)
        if earlier is None or not earlier.has_checkpoints:
            checkpoint = checkpoint or config.get("checkpoint")
        if checkpoint is None and earlier is None and not train:
            raise UserError("nothing to do: add -t to train, or -c CKPT to evaluate a checkpoint")
        config = check(_with_model(config, checkpoint, debug), train)
        config.setdefault("experiment_name", Path(files[-1] if files or earlier is None else earlier.path).stem)
        config = resolve(config, partial(resolve_checkpoint, debug=debug), debug)
        source, resumed = _source(checkpoint, earlier, train, retrain, debug)
        if resumed is not None:
            _prepare(resumed, config, name, train)
        elif debug:
            config["experiment_name"] += "_debug"  # so that latest: finds runs without -d first
        with _run_of(config, name, resumed, "train" if train else "eval", folder) as run:
            _work(config, run, source, train, retrain or earlier is None, debug, allow_other_network)


def remember_own(files: Sequence[str | Path], overrides: Mapping[str, str], allow: Iterable[str]) -> None:
    """Allow what the user names: on the command line, and modules of the working folder in files of one's own."""
    own = [path for path in files if not Path(path).match(SAVED)]  # a config of a run folder may be a stranger's
    # A place of a list can be replaced only in the config that has the list.
    typed = {key: text for key, text in overrides.items() if not any(part.isdigit() for part in key.split("/"))}
    remember({*allow, *modules_here(merged(own)), *modules_typed(merged([], typed))}, folders_typed(overrides))


def _prepare(run: Run, config: Mapping[str, Any], name: str | None, train: bool) -> None:
    """Name the evaluation of an earlier run, or tell what is new in a training that is continued.

    Raises:
        UserError: a name is given for a training that is continued.
    """
    if name is not None and train:
        raise UserError(f"-n {name}: names new runs, but {run.path} is continued; leave out -n")
    run.evaluation_name = name
    for line in changes(run.config(), config) if train else ():
        log.info("%s", line)


def _with_model(config: dict[str, Any], checkpoint: str | None, debug: bool) -> dict[str, Any]:
    """A config that names no model, laid over that of the checkpoint; any other config is returned unchanged.

    Raises:
        UserError: the checkpoint holds weights alone.
    """
    if "model" in config or checkpoint is None:
        return config
    path = resolve_checkpoint(checkpoint, debug=debug)
    saved = checkpoints.load(path).get("config")
    if not isinstance(saved, Mapping):
        raise UserError(f"{path}: holds weights without a config; name the config of its model too, after -b")
    if "Transformer" in config and "Model" in saved:  # of a released flow
        saved = {"Transformer" if name == "Model" else name: value for name, value in saved.items()}
    return merge(saved, config)


def _source(
    checkpoint: str | None, earlier: Run | None, train: bool, retrain: bool, debug: bool
) -> tuple[Path | None, Run | None]:
    """The checkpoint to load and the earlier run to continue, each if there is one.

    A training continues in the folder of the earlier run only if no later checkpoint in it would be overwritten.
    """
    needs_last = earlier is not None and (earlier.has_checkpoints if train else checkpoint is None)
    last = earlier.last_checkpoint() if earlier is not None and needs_last else None
    given = None if checkpoint is None else resolve_checkpoint(checkpoint, debug=debug)
    if earlier is None or not train:
        return given or last, earlier
    if given is None and last is None:
        log.warning("%s stopped before its first checkpoint; starting at step 0", earlier.path)
    nothing_lost = given is None or (last is not None and given.samefile(last))
    return given or last, earlier if nothing_lost and not (retrain or debug) else None


@contextmanager
def _run_of(
    config: dict[str, Any], name: str | None, resumed: Run | None, kind: str, folder: Path | None
) -> Iterator[Run]:
    """The run, new or resumed, with the config saved; undone if the start fails before its first result."""
    if joined := _joined():
        yield _run_begun(Path(joined))
        return
    run = resumed or (Run.at(folder) if folder else Run.create(name or config["experiment_name"]))
    try:
        again = f"edflow -p {run.path}" + (" -t" if kind == "train" else "")
        with failed_writing_explained(run.path, again), run.trained_by_one() if kind == "train" else nullcontext():
            run.save_config(config, kind)
            print(run.path, flush=True)
            log.info("%s", dump(config))
            os.environ |= {JOINED: str(run.path), FIRST_PROCESS: str(os.getpid())}
            if _is_of_torchrun():
                _torchrun_store().set(JOINED, str(run.path))
            yield run
    except BaseException:
        run.abandon()
        raise
    finally:
        for name in (JOINED, FIRST_PROCESS):
            os.environ.pop(name, None)


def _joined() -> str | None:
    """The run folder that the first process has made, if this is another one."""
    if JOINED in os.environ or not _is_of_torchrun() or os.environ["RANK"] == "0":
        return os.environ.get(JOINED)
    return _torchrun_store().get(JOINED).decode()


def _run_begun(folder: Path) -> Run:
    """The run that the first process has made.

    Raises:
        UserError: that process has removed it, as it does when it is stopped before there is anything to keep.
    """
    try:
        return Run.open(folder)
    except UserError as error:
        raise UserError(f"{folder}: the first process of this training has ended; see its message") from error


def _is_of_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _torchrun_store() -> Any:
    """What torchrun's processes share, anew for each attempt."""
    from torch.distributed import PrefixStore, TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=JOINING)
    return PrefixStore(f"{JOINED}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What differs between two configs, a line for each setting.

    >>> list(changes({"a": {"b": 8}, "c": 1}, {"a": {"b": 4}, "d": "x"}))
    ['a/b: 8 -> 4', 'c: 1 -> unset', 'd: unset -> x']
    """
    for name in {**before, **after}:
        old, new = before.get(name, UNSET), after.get(name, UNSET)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, f"{prefix}{name}/")
        elif old != new:
            yield f"{prefix}{name}: {old} -> {new}"


def _work(
    config: dict[str, Any],
    run: Run,
    source: Path | None,
    train: bool,
    restart: bool,
    debug: bool,
    allow_other_network: bool,
) -> None:
    from invariances.training import engine  # imports Lightning, which takes seconds

    with _leaving_other_processes():
        if train:
            engine.train(config, run, source, restart, debug, allow_other_network)
        elif source is not None:  # always so: ensured by the command line and `_source`
            engine.evaluate(config, run, source, debug, allow_other_network)


@contextmanager
def _leaving_other_processes() -> Iterator[None]:
    """Close the connections to other processes at the end; gloo's threads may abort a process that ends with them."""
    from torch import distributed

    try:
        yield
    finally:
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
