"""The answers of a Dagster webserver as dataclasses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from metaflow_dagster.ir.flow import Project, end_event
from metaflow_dagster.names import OP_PREFIX
from metaflow_dagster.operate.automations import Automation, Kind
from metaflow_dagster.operate.partitions import JobPartitions, PartitionDimension
from metaflow_dagster.operate.runs import (
    FLOW_TAG,
    FOREACH_ITEMS,
    DagsterRun,
    Event,
    ItemsFound,
    RunFailed,
    StepChange,
    StepChanged,
    chained_reason,
)

_CHANGES = {
    "ExecutionStepStartEvent": StepChange.STARTED,
    "ExecutionStepRestartEvent": StepChange.STARTED,
    "ExecutionStepUpForRetryEvent": StepChange.RETRIED,
    "ExecutionStepSuccessEvent": StepChange.SUCCEEDED,
    "ExecutionStepSkippedEvent": StepChange.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class ServedJob:
    """A job that the server has loaded."""

    name: str
    location: str
    repository: str
    flow: str
    start_op: str
    steps: tuple[str, ...] = ()
    end_event: str = ""  # which is the asset of the flow

    def selector(self) -> dict[str, str]:
        """Its repository, as queries select it."""
        return {"repositoryName": self.repository, "repositoryLocationName": self.location}


@dataclass(frozen=True, slots=True)
class ServedParameter:
    """A parameter of a job that a server has loaded; `kind` is Dagster's name of its type."""

    name: str
    kind: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class ServedFlow:
    """The flow of a job, as a server knows it."""

    name: str
    parameters: tuple[ServedParameter, ...]
    steps: tuple[str, ...]


def served_jobs(answer: Any) -> Iterator[ServedJob]:
    """Jobs of compiled flows, told by the tag that these have."""
    for repository in answer["repositoriesOrError"].get("nodes", ()):
        for job in repository["pipelines"]:
            starts = [op["name"] for op in job["solids"] if _is_first(op, job["solids"])]
            tags = {tag["key"]: tag["value"] for tag in job["tags"]}
            if FLOW_TAG in tags and len(starts) == 1:
                yield ServedJob(
                    job["name"],
                    repository["location"]["name"],
                    repository["name"],
                    tags[FLOW_TAG],
                    starts[0],
                    tuple(_steps(job["solidHandles"])),
                    end_event(tags[FLOW_TAG], _project(tags)),
                )


def _project(tags: Mapping[str, str]) -> Project | None:
    name, branch = tags.get("metaflow/project"), tags.get("metaflow/branch")
    return Project(name, branch) if name and branch else None


def served_partitions(job: ServedJob, nodes: Any) -> JobPartitions:
    """The partitions of a job, which are those of the flow's asset in its repository."""
    for node in nodes:
        repository = node["repository"]
        place = (repository["location"]["name"], repository["name"])
        if place == (job.location, job.repository) and node["partitionDefinition"]:
            return JobPartitions(job.name, list(_dimensions(node)))
    return JobPartitions(job.name, ())


def _dimensions(node: Any) -> Iterator[PartitionDimension]:
    types = node["partitionDefinition"]["dimensionTypes"]
    added = {kind["name"]: kind["dynamicPartitionsDefinitionName"] for kind in types}
    for dimension in node["partitionKeysByDimension"]:
        name = dimension["name"]
        yield PartitionDimension(name, dimension["partitionKeys"], added.get(name))


def _is_first(op: Any, ops: Any) -> bool:
    """Whether an op is that of the first step, or the graph that the flow's asset is."""
    return not op["inputs"] or len(ops) == 1


def _steps(handles: Any) -> Iterator[str]:
    """The steps of a flow: an op is called after its step, and what only joins is not."""
    names = [handle["handleID"].rpartition(".")[2] for handle in handles]
    return (name.removeprefix(OP_PREFIX) for name in names if name.startswith(OP_PREFIX))


def served_parameters(schema: Any, start_op: str) -> Iterator[ServedParameter]:
    """The fields of the configuration of the first op."""
    fields = {
        config_type["key"]: config_type.get("fields") or ()
        for config_type in schema.get("allConfigTypes", ())
    }
    key = schema["rootConfigType"]["key"] if fields else ""
    for part in ("ops", start_op, "config"):
        key = next(
            (field["configTypeKey"] for field in fields.get(key, ()) if field["name"] == part), ""
        )
    for field in fields.get(key, ()):
        kind = field["configTypeKey"].removeprefix("Noneable.")
        yield ServedParameter(field["name"], kind, field["isRequired"])


def served_automations(repository: Any, job_name: str) -> Iterator[Automation]:
    """Schedules and sensors of a job, of a repository."""
    for schedule in repository.get("schedules", ()):
        if schedule["pipelineName"] == job_name:
            yield _automation(Kind.SCHEDULE, schedule["name"], schedule["scheduleState"])
    for sensor in repository.get("sensors", ()):
        if job_name in {target["pipelineName"] for target in sensor["targets"] or ()}:
            yield _automation(Kind.SENSOR, sensor["name"], sensor["sensorState"])


def _automation(kind: Kind, name: str, state: Any) -> Automation:
    return Automation(kind, name, state["id"], state["status"])


def dagster_run(answer: Any) -> DagsterRun:
    """A run, of the fields `RunParts`."""
    return DagsterRun(
        id=answer["runId"],
        job_name=answer["jobName"],
        status=answer["status"],
        tags={tag["key"]: tag["value"] for tag in answer["tags"]},
        run_config=answer["runConfig"] or {},
        started=answer["startTime"],
        ended=answer["endTime"],
    )


def run_events(event: Any) -> Iterator[Event]:
    """The events that count, of one of Dagster's."""
    kind, key = event["__typename"], event.get("stepKey") or ""
    if kind in _CHANGES:
        yield StepChanged(key, _CHANGES[kind])
    elif kind == "ExecutionStepFailureEvent":
        description = (event["failureMetadata"] or {}).get("description")
        reason = chained_reason(_causes(event["error"]))
        yield StepChanged(key, StepChange.FAILED, description or reason)
    elif kind == "ExecutionStepOutputEvent":
        for entry in event["metadataEntries"]:
            if entry["label"] == FOREACH_ITEMS:
                yield ItemsFound(key, entry["intValue"])
    elif kind == "RunFailureEvent":
        reason = chained_reason(_causes(event["error"]))
        yield RunFailed("\n".join(filter(None, [event["message"], reason])))


def _causes(error: Any) -> Iterator[tuple[str, str]]:
    """Class and message of an error, and of what has caused it."""
    for failure in (error, *error["causes"]) if error else ():
        yield failure["className"] or "", failure["message"]
