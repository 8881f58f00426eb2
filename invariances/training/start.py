"""Start a training or an evaluation: resolve its config, its checkpoint and its run folder."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from invariances.config.allowing import folders_typed, judging, modules_here, modules_typed, remember
from invariances.config.checking import check
from invariances.config.reading import differences, dump, read
from invariances.config.resolving import resolve
from invariances.errors import UserError
from invariances.training.run import SAVED, Run, resolve_checkpoint

log = logging.getLogger(__name__)

JOINED = "INVARIANCES_RUN"  # the run folder, for the processes that Lightning starts for further devices


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
        allow: packages and modules whose classes configs may call, see `invariances.config.allowing`.

    Raises:
        UserError: a mistake in any of these; no new files are left then.
    """
    earlier = None if project is None else Run.find(project, debug=debug)
    base = {} if earlier is None else earlier.config()
    own = [path for path in files if not Path(path).match(SAVED)]  # a config of a run folder may be a stranger's
    remember({*allow, *modules_here(read(own)), *modules_typed(read([], overrides))}, folders_typed(overrides or {}))
    with judging(*files, *([] if earlier is None else [earlier.config_path()])):
        config = check(read(files, overrides, base), train)
        config.setdefault("experiment_name", Path(files[-1] if files or earlier is None else earlier.path).stem)
        config = resolve(config, partial(resolve_checkpoint, debug=debug), debug)
        source, resumed = _source(checkpoint, earlier, train, retrain, debug)
        if resumed is not None and name is not None:
            raise UserError(f"-n {name}: names new runs, but {resumed.path} is continued; leave out -n")
        if debug and resumed is None:
            config["experiment_name"] += "_debug"  # so that latest: finds runs without -d first
        for line in differences(base, config) if resumed is not None else ():
            log.info("changed: %s", line)
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
    if JOINED in os.environ:
        yield Run.open(os.environ[JOINED])
        return
    run = resumed or Run.create(name or config["experiment_name"])
    run.save_config(config, kind)
    print(run.path, flush=True)
    log.info("%s", dump(config))
    os.environ[JOINED] = str(run.path)
    try:
        yield run
    except BaseException:
        run.abandon()
        raise
    finally:
        del os.environ[JOINED]


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
