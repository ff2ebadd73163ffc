"""Partitions and backfills of a job that a Dagster webserver has loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from metaflow_dagster.operate.backfill import BackfillState
from metaflow_dagster.operate.errors import RunNotFound, RunNotStarted
from metaflow_dagster.operate.partitions import JobPartitions, latest_runs
from metaflow_dagster.operate.queries import (
    ADD_PARTITION,
    BACKFILL,
    LAUNCH_BACKFILL,
    PARTITION_RUNS,
    PARTITIONED_ASSET,
)
from metaflow_dagster.operate.runs import PARTITION_TAG, RUNS_AT_ONCE, DagsterRun, Launch
from metaflow_dagster.operate.served import ServedJob, dagster_run, served_partitions

BACKFILL_TAG: Final = "dagster/backfill"  # dagster/_core/storage/tags.py: BACKFILL_ID_TAG


@dataclass(frozen=True, slots=True)
class ServedPartitions:
    """The questions to a server at a URL; `ask` takes a query and its variables."""

    ask: Callable[[str, Mapping[str, object]], Any]
    url: str

    def of(self, job: ServedJob) -> JobPartitions:
        """The partitions of a job."""
        answer = self.ask(PARTITIONED_ASSET, {"key": {"path": [job.end_event]}})
        return served_partitions(job, answer["assetNodes"])

    def tags(self, launch: Launch, job: ServedJob) -> Mapping[str, str]:
        """The tags of a run of a partition, which is added if it is one that can be."""
        return self.of(job).run_tags(launch, partial(self._add, job))

    def _add(self, job: ServedJob, name: str, key: str) -> None:
        variables = {"selector": job.selector(), "name": name, "key": key}
        answer = self.ask(ADD_PARTITION, variables)["changed"]
        # Somebody else may have added it meanwhile, which is as good.
        if answer["__typename"] in ("PythonError", "UnauthorizedError"):
            raise RunNotStarted(
                f"The Dagster at {self.url} does not add the partition {key!r}: {answer['message']}"
            )

    def runs_of(self, job_name: str) -> Iterator[DagsterRun]:
        """The runs of a job that have a partition, the latest first."""
        runs = self._runs({"pipelineName": job_name})
        return (run for run in runs if PARTITION_TAG in run.tags)

    def runs_in(self, backfill_id: str) -> Iterator[DagsterRun]:
        """The runs of a backfill, the latest first."""
        return self._runs({"tags": [{"key": BACKFILL_TAG, "value": backfill_id}]})

    def _runs(self, wanted: Mapping[str, object]) -> Iterator[DagsterRun]:
        """Runs as a filter selects them, the latest first, as many as are looked at."""
        variables: dict[str, object] = {"filter": wanted, "limit": RUNS_AT_ONCE}
        while True:
            answer = self.ask(PARTITION_RUNS, variables)["runsOrError"]
            runs = [dagster_run(run) for run in answer.get("results", ())]
            yield from runs
            if len(runs) < RUNS_AT_ONCE:
                return
            variables["cursor"] = runs[-1].id

    def backfill(self, job: ServedJob, launch: Launch, keys: Sequence[str]) -> ServedBackfill:
        """Have Dagster's daemon launch a run for each partition."""
        partitions = self.of(job)
        for name, new in {pair for key in keys for pair in partitions.new_keys(key)}:
            self._add(job, name, new)
        given = {
            "selector": {
                "partitionSetName": f"{job.name}_partition_set",
                "repositorySelector": job.selector(),
            },
            "partitionNames": list(keys),
            "tags": [{"key": key, "value": value} for key, value in launch.tags.items()],
            **_run_config(launch.run_config(job.start_op)),
        }
        answer = self.ask(LAUNCH_BACKFILL, {"backfillParams": given})["launched"]
        if "backfillId" not in answer:
            raise RunNotStarted(
                f"The Dagster at {self.url} does not start the backfill: {answer['message']}"
            )
        return ServedBackfill(self, answer["backfillId"], keys)

    def end_of(self, backfill_id: str) -> tuple[bool, str]:
        """Whether Dagster's daemon has done with a backfill, and what went wrong with it."""
        answer = self.ask(BACKFILL, {"id": backfill_id})["partitionBackfillOrError"]
        if "status" not in answer:
            raise RunNotFound(f"The Dagster at {self.url} has no backfill {backfill_id}.")
        trouble = (answer["error"] or {}).get("message", "")
        return answer["status"] not in ("REQUESTED", "CANCELING"), trouble


@dataclass(frozen=True, slots=True)
class ServedBackfill:
    """A backfill whose runs are launched by Dagster's daemon."""

    served: ServedPartitions
    id: str
    keys: Sequence[str]
    needs_waiting: bool = False

    @property
    def where(self) -> Sequence[str]:
        """Where to see it."""
        return (f"See it in Dagster's UI: {self.served.url}/runs/b/{self.id}",)

    def look(self) -> BackfillState:
        """The present state."""
        is_over, trouble = self.served.end_of(self.id)
        runs = latest_runs(self.served.runs_in(self.id), self.keys)
        is_finished = is_over and all(run.phase.is_finished for run in runs.values())
        return BackfillState(self.keys, runs, is_finished, trouble)


def _run_config(run_config: Mapping[str, object]) -> Mapping[str, object]:
    """The run configuration of the runs of a backfill; no Dagster before 1.11 takes any."""
    return {"runConfigData": dict(run_config)} if run_config else {}
