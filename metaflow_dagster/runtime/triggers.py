"""Sensors that start a run for every event, or for every time that several have happened.

The cursor of a sensor says which events it has dealt with, and a run has a key by which Dagster
starts it once. So each event counts once, whatever is stopped or killed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetRecordsFilter,
    DagsterInstance,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
)

from metaflow_dagster.runtime.event_log import (
    Cursor,
    Stored,
    new_events,
    read_cursor,
    stored_events,
    written_cursor,
)
from metaflow_dagster.runtime.events import (
    RUN_EVENT,
    Happened,
    StartConfig,
    UnusablePayload,
    event_asset,
    happened,
)
from metaflow_dagster.runtime.settings import TRIGGERS_TAG

SENSOR_INTERVAL = 1  # second: once whenever Dagster's daemon comes round, which is every five


@dataclass(frozen=True)
class Trigger:
    """Events that all have to happen: for each, the field of its payload by parameter.

    `kind` is what Metaflow calls them: `event`, or `run` for the ends of runs. At the times of
    `reset_cron`, those that have happened before are forgotten.
    """

    kind: str
    events: Mapping[str, Mapping[str, str]]
    reset_cron: str | None = None
    reset_timezone: str | None = None


def triggered_runs(
    context: SensorEvaluationContext, trigger: Trigger, config: StartConfig | None = None
) -> SensorResult:
    """The runs for what has happened since the last look, in the order in which it happened."""
    cursor = read_cursor(context.cursor, trigger.events)
    news = new_events(context.instance, cursor)
    earlier = usable_events(trigger, config, waiting_events(context.instance, cursor))[0]
    events, problems = usable_events(trigger, config, news)
    complete, waiting = complete_sets(trigger, earlier, events)
    for problem in problems:
        context.log.warning(problem)
    return SensorResult(
        run_requests=[run_request(trigger, config, one) for one in complete],
        skip_reason=None if complete else " ".join([*problems, lacking(trigger, waiting)]),
        cursor=written_cursor(cursor, news, {name: one.number for name, one in waiting.items()}),
    )


def waiting_events(instance: DagsterInstance, cursor: Cursor) -> list[Stored]:
    """The events that wait for others since an earlier look."""
    found: list[Stored] = []
    for name, number in cursor.waiting.items():
        wanted = AssetRecordsFilter(event_asset(name), storage_ids=[number])
        found += stored_events(instance, name, wanted, 1) or []
    return found


def usable_events(
    trigger: Trigger, config: StartConfig | None, stored: Sequence[Stored]
) -> tuple[list[Happened], list[str]]:
    """The events that may start a run, and what is wrong with the others."""
    events, problems = [], []
    for one in stored:
        try:
            if one.record is None:
                raise UnusablePayload("has a payload that Dagster cannot read")
            fields = trigger.events[one.name]
            events.append(happened(trigger.kind, fields, config, one.name, one.record))
        except UnusablePayload as problem:
            problems.append(f"Event {one.name}, no. {one.number} of the event log, {problem}.")
    return events, problems


def complete_sets(
    trigger: Trigger, waiting: Sequence[Happened], events: Sequence[Happened]
) -> tuple[list[list[Happened]], dict[str, Happened]]:
    """The sets of events that start a run each, and those that wait for others after that.

    Of several events of one name, the latest counts.
    """
    complete = []
    left = {event.name: event for event in waiting}
    for event in events:
        left = {name: one for name, one in left.items() if not is_forgotten(trigger, one, event)}
        left[event.name] = event
        if len(left) == len(trigger.events):
            complete.append([left[name] for name in trigger.events])
            left = {}
    return complete, left


def is_forgotten(trigger: Trigger, earlier: Happened, event: Happened) -> bool:
    """Whether an event does not count any more when another one happens."""
    if trigger.reset_cron is None:
        return False
    from dagster._utils.schedules import cron_string_iterator

    resets = cron_string_iterator(earlier.timestamp, trigger.reset_cron, trigger.reset_timezone)
    return next(resets).timestamp() <= event.timestamp


def run_request(
    trigger: Trigger, config: StartConfig | None, events: Sequence[Happened]
) -> RunRequest:
    """A run with the parameters that events give it, and a tag by which its steps know of them."""
    values: dict[str, Any] = {}
    for event in events:
        values.update(event.values)
    known = [
        {"name": one.name, "id": one.id, "timestamp": int(one.timestamp), "type": trigger.kind}
        for one in events
    ]
    return RunRequest(
        run_key=" ".join(run_key(trigger, one) for one in events),
        run_config={"ops": {config.op: {"config": values}}} if config and values else {},
        tags={TRIGGERS_TAG: json.dumps(known)},
    )


def run_key(trigger: Trigger, event: Happened) -> str:
    """What tells events apart. The end of a run, which a retry may publish again, is one event."""
    return event.id if trigger.kind == RUN_EVENT else f"{event.name}#{event.number}"


def lacking(trigger: Trigger, waiting: Mapping[str, Happened]) -> str:
    """What has to happen for a run to start."""
    missing = [name for name in trigger.events if name not in waiting]
    return f"Waiting for {' and '.join(missing)}."
