"""A target that holds some runs and launches none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metaflow_dagster.operate.automations import Automation, Change
from metaflow_dagster.operate.deployed import DeployedJob
from metaflow_dagster.operate.payload import Plain
from metaflow_dagster.operate.runs import FLOW_TAG, DagsterRun, Event, Launch, Launched


def run(
    id: str = "x",
    tags: Mapping[str, str] | None = None,
    config: Mapping[str, object] | None = None,
    status: str = "SUCCESS",
) -> DagsterRun:
    """A run of the job of flow F."""
    return DagsterRun(id, "job", status, {FLOW_TAG: "F", **(tags or {})}, config or {})


class Runs:
    """Some runs, the latest first."""

    def __init__(self, *runs: DagsterRun) -> None:
        self.all = runs

    def launch(self, launch: Launch) -> Launched:
        raise NotImplementedError

    def run(self, dagster_run_id: str) -> DagsterRun:
        return next(each for each in self.all if each.id == dagster_run_id)

    def events(self, dagster_run_id: str, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        return [], cursor

    def runs_tagged(self, key: str, value: str, limit: int) -> Sequence[DagsterRun]:
        return [each for each in self.all if each.tags.get(key) == value][:limit]

    def terminate(self, run: DagsterRun) -> None:
        raise NotImplementedError

    def switch(self, launch: Launch, change: Change) -> Sequence[Automation]:
        return []

    def publish(self, event: str, payload: Mapping[str, Plain]) -> str:
        raise NotImplementedError

    def jobs(self) -> Sequence[DeployedJob]:
        return []

    def run_url(self, dagster_run_id: str) -> str | None:
        return None
