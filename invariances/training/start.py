"""Start a training or an evaluation: resolve its config, its checkpoint and its run folder."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from invariances.config.checking import check
from invariances.config.reading import dump, read
from invariances.config.resolving import resolve
from invariances.errors import UserError
from invariances.training.run import Run, resolve_checkpoint
from invariances.utils.files import full_disk_explained

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
) -> None:
    """Check everything, then train or evaluate.

    Args:
        files: YAML files, merged left to right.
        overrides: `Section/key` -> YAML text.
        train: train; by default evaluate.
        project: an earlier run; the files are merged into its config.
        checkpoint: a path, or latest:EXPERIMENT; with a project, its last one is the default.
        name: of a new run's folder; the experiment's name is the default.
        retrain: start at step 0, from the weights of the checkpoint.
        debug: a few steps on a few examples, in a new run.
        allow_other_network: use a checkpoint whose frozen networks were others than those of the config.

    Raises:
        UserError: a mistake in any of these; no new files are left then.
    """
    earlier = None if project is None else Run.find(project, debug=debug)
    base = {} if earlier is None else earlier.config()
    config = check(read(files, overrides, base), train)
    config.setdefault("experiment_name", Path(files[-1] if files or earlier is None else earlier.path).stem)
    config = resolve(config, partial(resolve_checkpoint, debug=debug), debug)
    source, resumed = _source(checkpoint, earlier, train, retrain, debug)
    if resumed is not None and name is not None:
        raise UserError(f"-n {name}: names new runs, but {resumed.path} is continued; leave out -n")
    if debug and resumed is None:
        config["experiment_name"] += "_debug"  # so that latest: finds runs without -d first
    if resumed is not None and train:
        for line in changes(resumed.config(), config):
            log.info("%s", line)
    with _run_of(config, name, resumed, "train" if train else "eval") as run:
        _work(config, run, source, train, retrain or earlier is None, debug, allow_other_network)


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
def _run_of(config: dict[str, Any], name: str | None, resumed: Run | None, kind: str) -> Iterator[Run]:
    """The run, new or resumed, with the config saved; undone if the start fails before its first result."""
    if joined := _joined():
        yield Run.open(joined)
        return
    run = resumed or Run.create(name or config["experiment_name"])
    try:
        again = f"edflow -p {run.path}" + (" -t" if kind == "train" else "")
        with full_disk_explained(run.path, again), run.trained_by_one() if kind == "train" else nullcontext():
            run.save_config(config, kind)
            print(run.path, flush=True)
            log.info("%s", dump(config))
            os.environ[JOINED] = str(run.path)
            if _is_of_torchrun():
                _torchrun_store().set(JOINED, str(run.path))
            yield run
    except BaseException:
        run.abandon()
        raise
    finally:
        os.environ.pop(JOINED, None)


def _joined() -> str | None:
    """The run folder that the first process has made, if this is another one."""
    if JOINED in os.environ or not _is_of_torchrun() or os.environ["RANK"] == "0":
        return os.environ.get(JOINED)
    return _torchrun_store().get(JOINED).decode()


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

    if train:
        engine.train(config, run, source, restart, debug, allow_other_network)
    elif source is not None:  # always so: ensured by the command line and `_source`
        engine.evaluate(config, run, source, debug, allow_other_network)
