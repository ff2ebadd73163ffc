"""The operations on a Dagster, on this machine or at a URL."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from metaflow_dagster.operate.automations import Automation, Change
from metaflow_dagster.operate.backfill import Backfill
from metaflow_dagster.operate.deployed import DeployedJob
from metaflow_dagster.operate.partitions import JobPartitions
from metaflow_dagster.operate.payload import Plain
from metaflow_dagster.operate.runs import DagsterRun, Event, Launch, Launched


class Target(Protocol):
    """A Dagster that runs are launched on."""

    def launch(self, launch: Launch) -> Launched:
        """Start a run, which goes on without this process; `RunNotStarted` if it does not."""

    def run(self, dagster_run_id: str) -> DagsterRun:
        """The present state of a run."""

    def events(self, dagster_run_id: str, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        """The events of a run since a cursor, and the next cursor."""

    def runs_tagged(self, key: str, value: str, limit: int) -> Sequence[DagsterRun]:
        """Runs with a tag, the latest first."""

    def terminate(self, run: DagsterRun) -> None:
        """Let a run end, with all its processes."""

    def switch(self, launch: Launch, change: Change) -> Sequence[Automation]:
        """Turn the schedules and sensors of a job off or on, and return them."""

    def publish(self, event: str, payload: Mapping[str, Plain]) -> str:
        """Record an event, and say where; `EventNotPublished` if it is not recorded."""

    def partitions(self, launch: Launch) -> JobPartitions:
        """The partitions of the job that a run would be launched of."""

    def runs_of(self, job_name: str) -> Iterator[DagsterRun]:
        """The runs of a job that have a partition, the latest first."""

    def backfill(self, launch: Launch, keys: Sequence[str]) -> Backfill:
        """Have a run launched for each of some partitions."""

    def jobs(self) -> Sequence[DeployedJob]:
        """The jobs of compiled flows that this Dagster knows."""

    def run_url(self, dagster_run_id: str) -> str | None:
        """A link that opens the run; None where there is no webserver to open it."""


@contextmanager
def open_target(url: str | None, environment: Mapping[str, str] = os.environ) -> Iterator[Target]:
    """The Dagster behind the webserver at a URL, or without one that on this machine."""
    with _embedded_target(environment) if url is None else _server_target(url) as target:
        yield target


@contextmanager
def _embedded_target(environment: Mapping[str, str]) -> Iterator[Target]:
    from metaflow_dagster.operate.embedded import EmbeddedTarget
    from metaflow_dagster.operate.home import dagster_home

    with EmbeddedTarget.open(dagster_home(environment)) as target:
        yield target


@contextmanager
def _server_target(url: str) -> Iterator[Target]:
    from metaflow_dagster.operate.server import ServerTarget

    yield ServerTarget(url)
