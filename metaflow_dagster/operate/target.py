"""What can be done with a Dagster, wherever it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from metaflow_dagster.operate.runs import DagsterRun, Event, Launch, Launched


class Target(Protocol):
    """A Dagster that runs are launched on."""

    def launch(self, launch: Launch) -> Launched:
        """Start a run, which goes on without this process; `RunNotStarted` if it does not."""

    def run(self, dagster_run_id: str) -> DagsterRun:
        """The present state of a run."""

    def events(self, dagster_run_id: str, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        """What has happened in a run since a cursor, and the next cursor."""

    def runs_tagged(self, key: str, value: str, limit: int) -> Sequence[DagsterRun]:
        """Runs with a tag, the latest first."""

    def terminate(self, run: DagsterRun) -> None:
        """Let a run end, with all its processes."""


@contextmanager
def embedded_target(definitions_file: Path | None) -> Iterator[Target]:
    """The Dagster on this machine; the file is needed to launch a run, and only for that."""
    from metaflow_dagster.operate.embedded import EmbeddedTarget
    from metaflow_dagster.operate.home import dagster_home

    with EmbeddedTarget.open(dagster_home(), definitions_file) as target:
        yield target


@contextmanager
def server_target(url: str, location: str | None) -> Iterator[Target]:
    """The Dagster behind a webserver; `location` tells apart jobs of one name."""
    from metaflow_dagster.operate.server import ServerTarget

    yield ServerTarget(url, location)
