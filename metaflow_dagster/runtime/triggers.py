"""Sensors that start a run for every event, or for every time that several have happened.

The cursor of a sensor says which events of Dagster's event log it has dealt with, and a run has a
key by which Dagster starts it once. So each event counts once, whatever is stopped or killed.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dagster import (
    AssetRecordsFilter,
    DagsterInstance,
    EventLogRecord,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
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

LOADED_AT = time.time()  # what had happened before this file was there is none of its business
SENSOR_INTERVAL = 5  # seconds between two looks at the event log
MOST_EVENTS = 100  # of one name that are dealt with in one look


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


@dataclass(frozen=True)
class Position:
    """How far a sensor has come with the events of one name, by their numbers in the event log.

    A database may show an event later than one with a higher number. So only what came before the
    last look is settled, and of what has come since then it is known what has been dealt with.
    """

    since: float
    settled: int = 0
    latest: int = 0
    dealt_with: Sequence[int] = ()


@dataclass(frozen=True)
class Cursor:
    """`waiting` are the numbers of events that wait for the others of their trigger."""

    positions: dict[str, Position]
    waiting: dict[str, int]


def triggered_runs(
    context: SensorEvaluationContext, trigger: Trigger, config: StartConfig | None = None
) -> SensorResult:
    """The runs for what has happened since the last look, in the order in which it happened."""
    cursor = read_cursor(context.cursor, trigger)
    records = new_records(context.instance, cursor)
    earlier = usable_events(trigger, config, waiting_records(context.instance, cursor))[0]
    events, problems = usable_events(trigger, config, records)
    complete, waiting = complete_sets(trigger, {one.name: one for one in earlier}, events)
    for problem in problems:
        context.log.warning(problem)
    return SensorResult(
        run_requests=[run_request(trigger, config, one) for one in complete],
        skip_reason=None if complete else " ".join([*problems, lacking(trigger, waiting)]),
        cursor=json.dumps(asdict(moved(cursor, records, waiting))),
    )


def read_cursor(text: str | None, trigger: Trigger) -> Cursor:
    """What a cursor says of the events of a trigger; for those it does not know it begins now."""
    stored = json.loads(text) if text else {"positions": {}, "waiting": {}}
    known = {name: Position(**one) for name, one in stored["positions"].items()}
    return Cursor(
        {name: known.get(name, Position(LOADED_AT)) for name in trigger.events},
        {name: one for name, one in stored["waiting"].items() if name in trigger.events},
    )


def moved(
    cursor: Cursor, records: Sequence[tuple[str, EventLogRecord]], waiting: Mapping[str, Happened]
) -> Cursor:
    """The cursor after a look at the event log."""
    positions = {}
    for name, position in cursor.positions.items():
        news = [record.storage_id for found, record in records if found == name]
        recent = [one for one in (*position.dealt_with, *news) if one > position.latest]
        latest = max([position.latest, *recent])
        positions[name] = Position(position.since, position.latest, latest, recent)
    return Cursor(positions, {name: event.storage_id for name, event in waiting.items()})


def new_records(instance: DagsterInstance, cursor: Cursor) -> list[tuple[str, EventLogRecord]]:
    """The events that have not been dealt with, in their order in the event log."""
    found: list[tuple[str, EventLogRecord]] = []
    cut_off = []
    for name, position in cursor.positions.items():
        most = MOST_EVENTS + len(position.dealt_with)
        records = instance.fetch_materializations(
            unsettled(name, position), most, ascending=True
        ).records
        if len(records) == most:
            cut_off.append(records[-1].storage_id)
        found += [(name, one) for one in records if one.storage_id not in position.dealt_with]
    # What comes after events that were not read now has to wait until they are.
    last = min(cut_off, default=None)
    in_turn = [one for one in found if last is None or one[1].storage_id <= last]
    return sorted(in_turn, key=lambda one: one[1].storage_id)


def unsettled(name: str, position: Position) -> AssetRecordsFilter:
    """What may be new. Clocks may differ, so the time counts for the first events only."""
    if position.settled:
        return AssetRecordsFilter(event_asset(name), after_storage_id=position.settled)
    return AssetRecordsFilter(event_asset(name), after_timestamp=position.since)


def waiting_records(instance: DagsterInstance, cursor: Cursor) -> list[tuple[str, EventLogRecord]]:
    """The events that wait for others since an earlier look."""
    return [
        (name, record)
        for name, storage_id in cursor.waiting.items()
        for record in instance.fetch_materializations(
            AssetRecordsFilter(event_asset(name), storage_ids=[storage_id]), 1
        ).records
    ]


def usable_events(
    trigger: Trigger, config: StartConfig | None, records: Sequence[tuple[str, EventLogRecord]]
) -> tuple[list[Happened], list[str]]:
    """The events that may start a run, and what is wrong with the others."""
    events, problems = [], []
    for name, record in records:
        try:
            events.append(happened(trigger.kind, trigger.events[name], config, name, record))
        except UnusablePayload as problem:
            problems.append(f"Event {name}, no. {record.storage_id} of the event log, {problem}.")
    return events, problems


def complete_sets(
    trigger: Trigger, waiting: Mapping[str, Happened], events: Sequence[Happened]
) -> tuple[list[list[Happened]], dict[str, Happened]]:
    """The sets of events that start a run each, and those that wait for others after that."""
    complete = []
    left = dict(waiting)
    for event in events:
        left = {
            name: one for name, one in left.items() if not is_forgotten(trigger, one, event)
        } | {event.name: event}
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
    return event.id if trigger.kind == RUN_EVENT else f"{event.name}#{event.storage_id}"


def lacking(trigger: Trigger, waiting: Mapping[str, Happened]) -> str:
    """What has to happen for a run to start."""
    missing = [name for name in trigger.events if name not in waiting]
    return f"Waiting for {' and '.join(missing)}."
