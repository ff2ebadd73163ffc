"""Where the runs of a runner are: a directory with a datastore and a Dagster home of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.execution import Command, own_memory, own_seconds, peak_memory, seconds
from tests.bench.runners import FLOW_FILE, Arguments, Runner
from tests.bench.works import Measure, Work

MEASURING: Mapping[Measure, Callable[[Command], float]] = {
    "run": seconds,
    "compile": seconds,
    "memory": peak_memory,
    "cpu": own_seconds,
    "peak": own_memory,
}


@dataclass(frozen=True)
class Workspace:
    """The directory of one runner, so that the runs of others do not fill what it reads."""

    directory: Path
    runner: Runner
    workers: int
    storage: Mapping[str, object] = field(default_factory=dict)

    def set_up(self) -> None:
        """Make the empty datastore and the home."""
        (self.directory / ".metaflow").mkdir(parents=True)
        self._home.mkdir()
        settings = {"telemetry": {"enabled": False}, **self.storage}
        (self._home / "dagster.yaml").write_text(json.dumps(settings))

    def prepare(self, work: Work) -> None:
        """Write the flow, and compile it if the runner does."""
        place = self.directory / work.name
        place.mkdir()
        (place / FLOW_FILE).write_text(work.flow.source)
        for arguments in self.runner.prepare(place, self._workers(work)):
            seconds(self._command(work, arguments, runs_flow=False))

    def measure(self, work: Work) -> float:
        """Seconds of one run, or MiB."""
        arguments = self.runner.command(work.flow, self._workers(work))
        command = self._command(work, arguments, runs_flow=self.runner.runs_flow)
        return MEASURING[work.measure](command)

    def _workers(self, work: Work) -> int:
        return work.workers or self.workers

    def _command(self, work: Work, arguments: Arguments, runs_flow: bool) -> Command:
        return Command(arguments, self.directory / work.name, self._environment, runs_flow)

    @property
    def _home(self) -> Path:
        return self.directory / "dagster_home"

    @property
    def _environment(self) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("METAFLOW_", "DAGSTER_"))
        }
        return {
            **kept,
            "METAFLOW_HOME": str(self.directory / ".metaflow_config"),
            "METAFLOW_USER": "bench",  # Metaflow refuses to work for root or for nobody
            "DAGSTER_HOME": str(self._home),
            **({"PYTHONPATH": str(self.runner.place)} if self.runner.place else {}),
        }
