"""Takes all measurements, one after the other."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tests.bench.load import Load, Production, production
from tests.bench.results import Results, Series
from tests.bench.runners import NATIVE, Runner
from tests.bench.works import SECONDS_AWAY, WARM_UP, Measure, Storage, Turn, Work
from tests.bench.workspace import Workspace
from tests.services.distance import distant
from tests.services.postgres import postgres_server

Place = tuple[str, Storage]  # the name of a runner, and where Dagster keeps what it knows


class Measuring(Protocol):
    """Where one runner does works."""

    def prepare(self, work: Work) -> None:
        """Do what comes before the measurement."""

    def measure(self, work: Work) -> float:
        """Do the work, and return what is measured of it."""


@dataclass(frozen=True)
class ThroughDaemon:
    """Runs that are launched by a daemon, or by Metaflow's scheduler next to it."""

    production: Production
    runner: Runner

    def prepare(self, work: Work) -> None:
        """Nothing to do: all flows were compiled before the daemon started."""

    def measure(self, work: Work) -> float:
        """Seconds of one run."""
        load = Load(work.flow)
        return self.production.native(load) if self.runner == NATIVE else self._launched(load)

    def _launched(self, load: Load) -> float:
        return self.production.runs(load)[0]


def measure(turns: Sequence[Turn], directory: Path, workers: int) -> Results:
    """Prepare for the turns below a directory, and take them."""
    values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with ExitStack() as stack:
        places = _places(turns, directory, workers, stack)
        for turn in dict.fromkeys(turns):
            _tell(f"preparing {_shown(turn)}")
            places[_place(turn)].prepare(turn.work)
        for number, turn in enumerate(turns, 1):
            value = places[_place(turn)].measure(turn.work)
            _tell(f"[{number}/{len(turns)}] {_shown(turn)}: {value:.1f} {unit(turn.work.measure)}")
            values[turn.work.name, turn.runner.name].append(value)
    return Results(tuple(Series(*key, tuple(taken)) for key, taken in values.items()))


def unit(measured: Measure) -> str:
    """What the measurements of a work are in."""
    return "MiB" if measured in ("memory", "peak") else "s"


def _place(turn: Turn) -> Place:
    return turn.runner.name, turn.work.storage


def _places(
    turns: Sequence[Turn], directory: Path, workers: int, stack: ExitStack
) -> dict[Place, Measuring]:
    """Where the turns are taken, as long as the stack is not left."""
    found: dict[Place, Measuring] = {}
    runners = {_place(turn): turn.runner for turn in turns}
    if works := {turn.work for turn in turns if turn.work.storage == "daemon"}:
        loads = [Load(work.flow) for work in works]
        (directory / "daemon").mkdir()
        dagster = stack.enter_context(production(directory / "daemon", loads))
        for place, runner in runners.items():
            if place[1] == "daemon":
                found[place] = ThroughDaemon(dagster, runner)
    for place, runner in runners.items():
        if place[1] != "daemon":
            settings = stack.enter_context(_distant()) if place[1] == "distant" else {}
            found[place] = _workspace(directory / "-".join(place), runner, workers, settings)
    return found


@contextmanager
def _distant() -> Iterator[Mapping[str, object]]:
    """The settings of a Dagster whose database is far away."""
    with postgres_server() as server, distant(server.port, SECONDS_AWAY) as port:
        yield replace(server, port=port).storage


def _workspace(
    directory: Path, runner: Runner, workers: int, settings: Mapping[str, object]
) -> Workspace:
    # Whoever comes first compiles the modules of all, and makes Dagster's databases.
    _tell(f"warming up {directory.name}")
    workspace = Workspace(directory, runner, workers, settings)
    workspace.set_up()
    work = Work("warm-up", "run", WARM_UP, 1, (runner,))
    workspace.prepare(work)
    workspace.measure(work)
    return workspace


def _shown(turn: Turn) -> str:
    return f"{turn.work.name} {turn.runner.name}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
