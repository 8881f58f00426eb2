"""The models that the demo can show: those that ship with the package, runs, studies, and released ones.

A source is found from configs alone; its networks are loaded when a page asks for them, see `loading`.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from invariances.config.reading import read_file
from invariances.demo import released_models
from invariances.errors import UserError
from invariances.studies.planning import FILE
from invariances.studies.request import STUDIES
from invariances.training.run import ROOT, Run
from invariances.zoo import zoo

Kind = Literal["cinn", "factors"]

EMBEDDED = Path(__file__).parent / "embedded"
TASK = "task.yaml"  # in the folder of an embedded model: what of a run's config builds its task
KINDS: dict[str, Kind] = {"CINNIterator": "cinn", "DIINIterator": "factors"}
CONFIG_LIFETIME = 30  # seconds until new runs are looked for


@dataclass(frozen=True)
class Source:
    """A trained model that can be shown.

    Attributes:
        path: its run folder; of a model that ships with the package, the model's folder; of a released one, its file.
        kind: what can be done with it.
        network: name of what is studied, shared by the models of its layers.
        layer: of the network; of a disentangling INN, the name of its experiment.
        name: unique among all sources, and short; of a released one, that in the zoo.
        released: whether it is of the zoo, and perhaps not downloaded yet.
    """

    path: Path
    kind: Kind
    network: str
    layer: str
    name: str
    released: bool = False


@st.cache_data(ttl=CONFIG_LIFETIME, show_spinner=False)
def find_sources(runs: tuple[str, ...] = (), root: str = str(ROOT), studies: str = str(STUDIES)) -> list[Source]:
    """The given runs; without any, the models of the package, all runs and studies, newest first, and released models.

    Args:
        runs: paths of runs or studies, or latest:EXPERIMENT.
        root: the folder of all runs.
        studies: the folder of all studies.

    Raises:
        UserError: a given run does not exist, or is none of a conditional or disentangling INN.
    """
    if runs:
        return [source for run in runs for source in _given(run)]
    found = sorted(Path(studies).glob(f"*/{FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    of_studies = [source for file in found for source in _of_study(file.parent)]
    return [*_embedded(), *_of_runs(Run.all(root)), *of_studies, *_released()]


def is_study(path: str | Path) -> bool:
    """Whether a folder is that of a study."""
    return (Path(path) / FILE).is_file()


def _given(text: str) -> list[Source]:
    found = list(_of_study(Path(text)) if is_study(text) else _of_runs([Run.find(text)]))
    if not found:
        raise UserError(f"{text}: has no conditional or disentangling INN with a checkpoint; leave it out")
    return found


def _embedded() -> Iterable[Source]:
    for folder in sorted(EMBEDDED.glob("*/")):
        if (folder / TASK).exists():
            config = read_file(folder / TASK)
            network = f"{config['notes']['network']} (built in)"
            yield Source(folder, KINDS[_task(config)], network, _layer(config), f"built-in {folder.name}")


def _of_runs(runs: Iterable[Run]) -> Iterable[Source]:
    for run in runs:
        with suppress(UserError):  # a config that is broken or was removed: other runs are shown
            config = run.config()
            if (kind := KINDS.get(_task(config))) and run.has_checkpoints:
                yield Source(run.path, kind, _network(config), _layer(config), run.path.name)


def _of_study(folder: Path) -> Iterator[Source]:
    """The flows that the newest plan of a study names; a study may have been moved since."""
    with suppress(UserError):
        names = read_file(folder / FILE).get("runs")
        paths = names.values() if isinstance(names, Mapping) else ()
        for source in _of_runs(Run(folder / "runs" / Path(str(path)).name) for path in paths):
            yield replace(source, network=f"{folder.name} (study)")


def _released() -> Iterator[Source]:
    for name, (network, layer) in released_models.FLOWS.items():
        yield Source(zoo.path(name), "cinn", network.name, layer, name, released=True)


def _task(config: Mapping[str, Any]) -> str:
    return str(config.get("iterator")).rpartition(".")[2]


def _layer(config: Mapping[str, Any]) -> str:
    greybox = config.get("GreyboxModel") or {}
    return str(greybox.get("layer") or config.get("experiment_name"))


def _network(config: Mapping[str, Any]) -> str:
    """The network under study: the run of its checkpoint, or its name in a library."""
    node = config.get("GreyboxModel") or config.get("first_stage") or {}
    path = Path(str(node.get("checkpoint", "")))
    return path.parents[2].name if len(path.parts) > 3 else str(node.get("model") or path.stem)
