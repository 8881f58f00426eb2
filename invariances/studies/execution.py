"""Run a study: the autoencoder, then the flows, then the report; what is done already is not done again."""

import logging
import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from invariances.config.signatures import prefix_errors
from invariances.errors import InvalidInput, Stopped, UserError
from invariances.studies.findings import Finding, check_autoencoder, check_layer, last_losses
from invariances.studies.planning import FILE, REPORT, Plan, facts, require_space, side_by_side, write_plan
from invariances.studies.quality import RESTART
from invariances.studies.recipes import AUTOENCODER, Recipe
from invariances.studies.request import duration
from invariances.studies.steps import ENDED, is_done, results, train
from invariances.training.jobs import Job, run_jobs, visible_gpus
from invariances.utils.files import held_by_one, require_own_files

log = logging.getLogger(__name__)

STEP = (sys.executable, "-m", "invariances.studies.steps")
BAR = re.compile(r"(\d+)/(\d+) \[.*step")  # of a training, see `invariances.training.progress`
PAUSE = 30.0  # seconds between two lines of progress where no terminal shows them
SIGNALLED = 128  # exit codes above it tell of a signal
LOG_LINES = 3  # of a failed training that are shown
LEAST_SHARE = 0.02  # of the planned time, before which the plan's own estimate counts

Say = Callable[[str], None]
Runner = Callable[["Plan", Sequence[Recipe], int, "Progress"], Mapping[str, int]]


@dataclass
class Progress:
    """Progress over all trainings of a study, by the time that they were planned to take.

    Attributes:
        plan: of the study.
        say: is given lines for people.
        shares: name of a training -> the part of it that is done.
        before: the parts that an earlier start had done.
    """

    plan: Plan
    say: Say
    shares: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    shown: float = 0.0

    def begin(self, recipes: Sequence[Recipe]) -> None:
        """Count what is done already."""
        for recipe in recipes:
            self.before[recipe.name] = self.shares[recipe.name] = float(is_done(recipe, self.plan.folder))

    def line(self, recipe: Recipe, text: str) -> None:
        """Read a line of a training's output."""
        if match := BAR.search(text):
            once = self.plan.cost(recipe).once / self.plan.time(recipe)
            self.shares[recipe.name] = once / 2 + (1 - once) * int(match[1]) / max(1, int(match[2]))
            self._show(recipe)

    def done(self, recipe: Recipe) -> None:
        """Count a training as done."""
        self.shares[recipe.name] = 1.0

    def _show(self, recipe: Recipe) -> None:
        if time.monotonic() - self.shown < (1.0 if sys.stderr.isatty() else PAUSE):
            return
        self.shown = time.monotonic()
        own = self.shares[recipe.name]
        text = f"{self}; {recipe.name} {own:.0%}"
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            self.say(text)

    @property
    def share(self) -> float:
        """The part of the planned time that is done, of which the report is the last."""
        total = sum(self.plan.time(recipe) for recipe in self.plan.recipes) + REPORT
        return sum(self._time(recipe, self.shares) for recipe in self.plan.recipes) / total

    def left(self) -> float:
        """Seconds until the end, as fast as it was so far."""
        rest = [self.plan.time(recipe) - self._time(recipe, self.shares) for recipe in self.plan.flows]
        first = self.plan.first
        ahead = self.plan.time(first) - self._time(first, self.shares) if first else 0
        planned = REPORT + ahead + side_by_side(rest, self.plan.n_parallel)
        whole = self.plan.total_time
        gone = whole - planned - sum(self._time(recipe, self.before) for recipe in self.plan.recipes)
        if gone < LEAST_SHARE * whole:
            return planned
        return planned * (time.monotonic() - self.started) / gone

    def __str__(self) -> str:
        return f"{math.floor(100 * self.share)}% of the study, {duration(self.left())} left"

    def _time(self, recipe: Recipe, shares: Mapping[str, float]) -> float:
        return self.plan.time(recipe) * shares.get(recipe.name, 0.0)


def in_processes(plan: Plan, recipes: Sequence[Recipe], n_parallel: int, progress: Progress) -> Mapping[str, int]:
    """Train each in a process of its own; returns name -> exit code.

    Raises:
        Stopped: by a signal, which all processes were given.
    """
    by_name = {recipe.name: recipe for recipe in recipes}
    codes: dict[str, int] = {}

    def listen(name: str, line: str) -> None:
        recipe = by_name[name]
        path = recipe.log(plan.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        progress.line(recipe, line)
        if match := ENDED.match(line):
            codes[name] = int(match[1])
            _told(plan, recipe, codes[name], progress)

    jobs = [Job(name, [*STEP, str(r.file(plan.folder)), str(r.folder(plan.folder))]) for name, r in by_name.items()]
    started = time.monotonic()
    code = run_jobs(jobs, n_parallel, visible_gpus() if n_parallel > 1 else (), listen, keep_going=True)
    for name, recipe in by_name.items():
        if name not in codes and is_done(recipe, plan.folder):  # a single job ends without a line
            listen(name, f"ended with exit code 0 after {time.monotonic() - started:.0f} s")
    if code > SIGNALLED:
        raise Stopped(code - SIGNALLED, "; the same command goes on with the study")
    return codes


def in_this_process(plan: Plan, recipes: Sequence[Recipe], n_parallel: int, progress: Progress) -> Mapping[str, int]:
    """Train one after the other here; returns name -> 0."""
    for recipe in recipes:
        train(recipe.file(plan.folder), recipe.folder(plan.folder))
        _told(plan, recipe, 0, progress)
    return {recipe.name: 0 for recipe in recipes}


def _told(plan: Plan, recipe: Recipe, code: int, progress: Progress) -> None:
    """Say that a training has ended."""
    if code > SIGNALLED:
        progress.say(f"{recipe.name}: stopped")
    elif code:
        path = recipe.log(plan.folder)
        last = [line for line in path.read_text(encoding="utf-8").splitlines()[:-1] if "%|" not in line]
        progress.say(f"{recipe.name}: failed; {' | '.join(last[-LOG_LINES:])} (all of it: {path})")
    else:
        progress.done(recipe)
        progress.say(f"{recipe.name}: done; {progress}")


@dataclass(frozen=True)
class Done:
    """A study that has come to its end.

    Attributes:
        plan: with all that was decided on the way.
        findings: of all checks.
        page: the report.
    """

    plan: Plan
    findings: Sequence[Finding]
    page: Path


def run_study(plan: Plan, run: Runner = in_processes, say: Say = print) -> Done:
    """Train what is not trained yet, and write the report.

    Args:
        plan: of the study.
        run: trains.
        say: is given lines for people.

    Returns:
        the study at its end.

    Raises:
        UserError: the autoencoder collapses twice; no flow could be trained; another process is at this study.
        Stopped: by a signal.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with prefix_errors("--name", InvalidInput):
        require_own_files(plan.folder)
    with held_by_one(plan.folder / ".running") as holder:
        if holder is not None:
            raise UserError(f"{plan.folder}: process {holder} is at this study; wait until it ends, or use --name")
        if not all(is_done(recipe, plan.folder) for recipe in plan.recipes):
            require_space(plan)
        plan, findings = _with_autoencoder(plan, run, say)
        write_plan(plan)
        _flows(plan, run, say)
        found = [*plan.findings, *findings, *layer_findings(plan)]
        return Done(plan, found, report(plan, found))


def _with_autoencoder(plan: Plan, run: Runner, say: Say) -> tuple[Plan, list[Finding]]:
    """The plan with a trained autoencoder; one that has collapsed is trained once more with a lower rate."""
    if plan.first is None:
        return plan, []
    found = _trained_autoencoder(plan, run, say)
    if found.level != "stop":
        return plan, [found]
    lower = plan.with_rate(plan.first.config["learning_rate"] / RESTART)
    say(f"{found.text}; training it once more, at a learning rate of {lower.rate:g}")
    again = _trained_autoencoder(lower, run, say)
    if again.level != "stop":
        text = f"{again.text}; with the usual rate it had collapsed, so {lower.rate:g} was used"
        return lower, [Finding("caution", text, AUTOENCODER)]
    raise UserError(
        f"{plan.folder}: {again.text}, also with a lower rate; a flow on it would show nothing. Try --quality good, a "
        f"smaller --size, more images, or an --autoencoder of your own; its pictures: {_pictures(lower)}"
    )


def _pictures(plan: Plan) -> Path:
    assert plan.first is not None
    return plan.first.metrics(plan.folder).parent / "grid.png"


def _trained_autoencoder(plan: Plan, run: Runner, say: Say) -> Finding:
    """Train the autoencoder unless it is trained, and judge it."""
    recipe = plan.first
    assert recipe is not None
    write_plan(plan)
    if not is_done(recipe, plan.folder):
        progress = Progress(plan, say)
        progress.begin(plan.recipes)
        run(plan, [recipe], 1, progress)
    if not is_done(recipe, plan.folder):
        log_file = recipe.log(plan.folder)
        raise UserError(f"{recipe.file(plan.folder)}: the autoencoder could not be trained; see {log_file}")
    return next(check_autoencoder(results(recipe, plan.folder)["metrics"]))


def _flows(plan: Plan, run: Runner, say: Say) -> None:
    """Train the flows that are not trained yet."""
    progress = Progress(plan, say)
    progress.begin(plan.recipes)
    waiting = [recipe for recipe in plan.flows if not is_done(recipe, plan.folder)]
    if waiting:
        run(plan, waiting, plan.n_parallel, progress)
    if not any(is_done(recipe, plan.folder) for recipe in plan.flows):
        raise UserError(f"{plan.folder}: no flow could be trained; see {plan.folder / 'output'}")


def layer_findings(plan: Plan) -> list[Finding]:
    """What to tell about each layer, by its first training."""
    found: list[Finding] = []
    for recipe in plan.flows:
        if not is_done(recipe, plan.folder):
            found.append(Finding("caution", f"not trained; see {recipe.log(plan.folder)}", recipe.name))
        elif recipe.config["seed"] == 0:
            losses = last_losses(recipe.folder(plan.folder) / "train" / "csv" / "metrics.csv")
            found += check_layer(results(recipe, plan.folder), losses, plan.z_dim)
    return found


def report(plan: Plan, findings: Sequence[Finding]) -> Path:
    """Write the report of what is trained."""
    from invariances.evaluation.report.page import write_report
    from invariances.studies.story import story
    from invariances.training.run import Run, grouped_by_seed

    runs = [Run(recipe.folder(plan.folder)) for recipe in plan.flows if is_done(recipe, plan.folder)]
    groups = [[run.path for run in group] for group in grouped_by_seed(runs)]
    return write_report(groups, plan.folder / "report", story(plan, facts(plan), findings, plan.folder / FILE))
