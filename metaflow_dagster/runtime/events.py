"""Events: materializations of assets of their names, whose metadata is the payload."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from dagster import (
    AddDynamicPartitionsRequest,
    AssetKey,
    AssetMaterialization,
    AssetSpec,
    Config,
    DagsterInstance,
    EventLogRecord,
    MetadataValue,
    OpExecutionContext,
    Output,
)
from pydantic import TypeAdapter, ValidationError

from metaflow_dagster.runtime.command import unfit
from metaflow_dagster.runtime.parameters import parameter_text
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.tasks import FinishedTask, parse_task

LONGEST_ID = 200  # what is longer is no id that anybody would ask for
RUN_EVENT = "run"  # what Metaflow calls the end of a run (metaflow/events.py)
SLASHES = 3  # in the path of the task with which a run has ended: Flow/run/step/task


class ChosenPartitions(Protocol):
    """The partitions that events choose of, by parameters that are their keys."""

    names: Sequence[str]

    def check(self, parameter: str, key: str) -> str:
        """Why there can be no partition of a key; empty if there can be."""

    def keys(self, partition: str | None) -> Mapping[str, str]:
        """The keys of the partition of a run that has ended, by parameter."""

    def partition(self, keys: Mapping[str, str]) -> str:
        """The partition of some keys by parameter."""

    def added(
        self, chosen: Sequence[Mapping[str, Any]], instance: DagsterInstance
    ) -> Sequence[AddDynamicPartitionsRequest]:
        """The partitions to add, for the values by parameter of some runs."""


@dataclass(frozen=True)
class StartConfig:
    """What events give to a run.

    The op whose config holds the flow's parameters, the class of that config, and the partitions
    of the runs, if there are some.
    """

    op: str
    fields: type[Config] | None
    partitions: ChosenPartitions | None = None


@dataclass(frozen=True)
class Happened:
    """An event, with the values it gives to the flow's parameters."""

    name: str
    number: int  # in the event log
    timestamp: float
    id: str
    values: Mapping[str, Any]


class UnusablePayload(Exception):
    """Why an event cannot start a run."""


def event_asset(name: str) -> AssetKey:
    """The asset of an event."""
    return AssetKey(name.split("/"))


def event_spec(name: str) -> AssetSpec:
    """The asset of an event, the same in the files of all flows that wait for it."""
    return AssetSpec(
        event_asset(name),
        description="An event, at which runs of Metaflow flows start.",
        group_name="metaflow",
        kinds={"event"},
    )


def publish_end(flow: FlowSettings, context: OpExecutionContext, task: FinishedTask) -> None:
    """Publish that the run of a task, its last one, has succeeded."""
    materialize(flow, context, event_asset(flow.end_event), end_metadata(flow, context, task))


def materialize(
    flow: FlowSettings, context: OpExecutionContext, asset: AssetKey, metadata: Mapping[str, Any]
) -> None:
    """Record that an asset is there, in the partition of the run if that has one."""
    has_partition = flow.partitions is not None and context.has_partition_key
    partition = context.partition_key if has_partition else None
    context.log_event(AssetMaterialization(asset, metadata=metadata, partition=partition))


def end_output(flow: FlowSettings, context: OpExecutionContext, task: FinishedTask) -> Output[str]:
    """The output of the last op where it is the flow's asset, which publishes the end of a run."""
    return Output(task.path, metadata={**task.metadata, **end_metadata(flow, context, task)})


def end_metadata(
    flow: FlowSettings, context: OpExecutionContext, task: FinishedTask
) -> dict[str, Any]:
    """What the end of a run publishes.

    The payload is what Metaflow's Argo deployer sends (argo_workflows_decorator.py), as far as it
    tells which run it was.
    """
    path = f"{flow.name}/{task.path}"
    run_id = parse_task(task.path).run_id
    payload = {
        "id": path,
        "pathspec": f"{flow.name}/{run_id}",
        "flow_name": flow.name,
        "run_id": run_id,
    }
    table = {name: value for name, value in task.metadata.items() if name == "artifacts"}
    return {**payload, **table, **job_link(context)}


def job_link(context: OpExecutionContext) -> dict[str, Any]:
    """A link to the job, where the run knows of which code location it is."""
    origin = context.run.remote_job_origin
    if origin is None:
        return {}
    location = origin.repository_origin.code_location_origin.location_name
    return {"job": MetadataValue.job(context.job_name, location)}


def event_of_record(
    kind: str,
    fields: Mapping[str, str],
    config: StartConfig | None,
    name: str,
    record: EventLogRecord,
) -> Happened:
    """An event of the event log, given the payload's field by parameter; `UnusablePayload`."""
    materialization = record.asset_materialization
    assert materialization is not None
    payload = {key: entry.value for key, entry in materialization.metadata.items()}
    return Happened(
        name,
        record.storage_id,
        record.timestamp,
        event_id(kind, payload, record.storage_id),
        {
            **parameter_values(fields, config, payload),
            **partition_values(kind, config, materialization.partition),
        },
    )


def event_id(kind: str, payload: Mapping[str, Any], number: int) -> str:
    """The id that an event bears, or else its number in the event log.

    Metaflow takes that of a run's end for the path of the run's last task.
    """
    given = payload.get("id")
    usable = isinstance(given, str) and len(given) <= LONGEST_ID
    is_path = usable and str(given).isprintable() and str(given).count("/") == SLASHES
    if kind == RUN_EVENT and not is_path:
        raise UnusablePayload("does not name the task that has ended a run in its id")
    return str(given) if usable else str(number)


def parameter_values(
    fields: Mapping[str, str], config: StartConfig | None, payload: Mapping[str, Any]
) -> dict[str, Any]:
    """The values that a payload gives to the flow's parameters, in their types."""
    if config is None:
        return {}
    types = config.fields.model_fields if config.fields else {}
    known = {field.alias or name: field for name, field in types.items()}
    values = {}
    for parameter, key in fields.items():
        if config.partitions and parameter in config.partitions.names:
            values[parameter] = partition_key(config.partitions, parameter, key, payload)
        elif payload.get(key) is not None:
            values[parameter] = typed_value(parameter, key, known[parameter].annotation, payload)
        elif known[parameter].is_required():
            raise UnusablePayload(f"has no field {key}, which parameter {parameter} needs")
    return values


def partition_values(
    kind: str, config: StartConfig | None, partition: str | None
) -> Mapping[str, str]:
    """The keys of the partition that the end of a run is of, as is the run that it starts."""
    if kind != RUN_EVENT or config is None or config.partitions is None:
        return {}
    keys = config.partitions.keys(partition)
    if not keys:
        raise UnusablePayload(f"is of the partition {partition}, which this flow does not have")
    for parameter, key in keys.items():
        if reason := config.partitions.check(parameter, key):
            raise UnusablePayload(f"is of a partition that this flow does not have: {reason}")
    return keys


def partition_key(
    partitions: ChosenPartitions, parameter: str, field: str, payload: Mapping[str, Any]
) -> str:
    """The key of a partition that a payload chooses."""
    value = payload.get(field)
    if value is None or not is_json(value):
        raise UnusablePayload(f"has no field {field}, which chooses the partition {parameter}")
    key = parameter_text(value)
    if reason := partitions.check(parameter, key):
        raise UnusablePayload(f"has a field {field} that is no partition of {parameter}: {reason}")
    return key


def typed_value(parameter: str, key: str, annotation: Any, payload: Mapping[str, Any]) -> Any:
    """The value of a field as a parameter takes it; text is read as on a command line."""
    kinds = get_args(annotation) or (annotation,)
    value = payload[key]
    try:
        if not is_json(value):
            raise TypeError(f"metadata of the kind {type(value).__name__} is no value")
        if str in kinds:
            value = parameter_text(value)
        elif Any not in kinds:
            value = TypeAdapter(annotation).validate_python(value)
        elif isinstance(value, str):
            json.loads(value)  # as Metaflow does with the text of a parameter of JSON
        reason = unfit(parameter_text(value))
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
    except json.JSONDecodeError as error:
        reason = f"the text is no JSON, {error}"
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    if not reason:
        return value
    raise UnusablePayload(f"has a field {key} that does not fit parameter {parameter}: {reason}")


def is_json(value: Any) -> bool:
    """Whether something is as JSON is read; metadata may be a table, an asset, a job and more."""
    if type(value) is list:
        return all(map(is_json, value))
    if type(value) is dict:
        return all(type(key) is str and is_json(inner) for key, inner in value.items())
    return value is None or type(value) in (str, bool, int, float)
