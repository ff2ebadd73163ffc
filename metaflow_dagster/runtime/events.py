"""Events: materializations of assets of their names, whose metadata is the payload."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetSpec,
    Config,
    EventLogRecord,
    OpExecutionContext,
)
from pydantic import TypeAdapter, ValidationError

from metaflow_dagster.runtime.command import unfit
from metaflow_dagster.runtime.parameters import parameter_text
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.tasks import FinishedTask, parse_task

LONGEST_ID = 200  # what is longer is no id that anybody would ask for
RUN_EVENT = "run"  # what Metaflow calls the end of a run (metaflow/events.py)
SLASHES = 3  # in the path of the task with which a run has ended: Flow/run/step/task


@dataclass(frozen=True)
class StartConfig:
    """The op whose config holds the flow's parameters, and the class of that config."""

    op: str
    fields: type[Config]


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
    """Publish that the run of a task, its last one, has succeeded.

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
    asset = event_asset(flow.end_event)
    context.log_event(AssetMaterialization(asset, metadata={**payload, **table}))


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
        parameter_values(fields, config, payload),
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
    known = {
        model_field.alias or name: model_field
        for name, model_field in config.fields.model_fields.items()
    }
    values = {}
    for parameter, key in fields.items():
        if payload.get(key) is not None:
            values[parameter] = typed_value(parameter, key, known[parameter].annotation, payload)
        elif known[parameter].is_required():
            raise UnusablePayload(f"has no field {key}, which parameter {parameter} needs")
    return values


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
