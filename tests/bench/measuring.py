"""Takes all measurements, one after the other."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.results import Results, Series
from tests.bench.works import WARM_UP, Turn, Work
from tests.bench.workspace import Workspace


def measure(turns: Sequence[Turn], directory: Path, workers: int) -> Results:
    """Prepare for the turns below a directory, and take them."""
    workspaces = {
        turn.runner.name: Workspace(directory / turn.runner.name, turn.runner, workers)
        for turn in turns
    }
    _prepare(turns, workspaces)
    values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for number, turn in enumerate(turns, 1):
        value = workspaces[turn.runner.name].measure(turn.work)
        _tell(f"[{number}/{len(turns)}] {_shown(turn)}: {value:.1f} {unit(turn.work)}")
        values[turn.work.name, turn.runner.name].append(value)
    return Results(tuple(Series(*key, tuple(taken)) for key, taken in values.items()))


def unit(work: Work) -> str:
    """What the measurements of a work are in."""
    return "MiB" if work.measure == "memory" else "s"


def _prepare(turns: Sequence[Turn], workspaces: Mapping[str, Workspace]) -> None:
    for workspace in workspaces.values():
        workspace.set_up()
        _warm_up(workspace)
    for turn in dict.fromkeys(turns):
        _tell(f"preparing {_shown(turn)}")
        workspaces[turn.runner.name].prepare(turn.work)


def _warm_up(workspace: Workspace) -> None:
    # Whoever comes first compiles the modules of all, and makes Dagster's databases.
    _tell(f"warming up {workspace.runner.name}")
    work = Work("warm-up", "run", WARM_UP, 1, (workspace.runner,))
    workspace.prepare(work)
    workspace.measure(work)


def _shown(turn: Turn) -> str:
    return f"{turn.work.name} {turn.runner.name}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
