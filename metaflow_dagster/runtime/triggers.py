"""Sensors that start a run for every event, or for every time that several have happened.

The cursor of a sensor says which events it has dealt with, and a run has a key by which Dagster
starts it once. So each event counts once, whatever is stopped or killed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from dagster import (
    AddDynamicPartitionsRequest,
    AssetRecordsFilter,
    DagsterInstance,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
)

from metaflow_dagster.internals.execution import DagsterTimes
from metaflow_dagster.runtime.event_log import (
    LOADED_AT,
    MOST_EVENTS,
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
    event_of_record,
)
from metaflow_dagster.runtime.settings import TRIGGERS_TAG

# Of what one look requests, in JSON: MySQL keeps no more than 65,535 of a tick, which holds all its
# requests, the cursor, and what is wrong with events.
TICK_BYTES = 40_000
REQUEST_BYTES = 700  # of a request besides its own contents
PROBLEM_BYTES = 10_000
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


@dataclass(frozen=True)
class Look:
    """The result of some news: sets of events that start a run each, in their order.

    `waiting` are the events that wait for others then, `problems` says why some events count for
    nothing.
    """

    news: Sequence[Stored]
    complete: Sequence[Sequence[Happened]]
    waiting: Mapping[str, Happened]
    problems: Sequence[str]


def triggered_runs(
    context: SensorEvaluationContext,
    trigger: Trigger,
    config: StartConfig | None = None,
    begin: float = LOADED_AT,
    most_events: int = MOST_EVENTS,
) -> SensorResult:
    """The runs for what has happened since the last look, in the order in which it happened.

    Events of a name that the sensor does not know yet count from the time `begin` on; one look
    deals with at most `most_events`.
    """
    cursor = read_cursor(context.cursor, trigger.events, begin)
    most = most_bytes(context.instance)
    earlier = usable_events(trigger, config, waiting_events(context.instance, cursor), most)[0]
    news = new_events(context.instance, cursor, most_events)
    look = look_at(trigger, config, earlier, news, most)
    requests = [run_request(trigger, config, events) for events in look.complete]
    if left_over := look.complete[number_that_fits(requests) :]:
        news = news_before(look.news, left_over[0])
        look = look_at(trigger, config, earlier, news, most)
    for problem in look.problems:
        context.log.warning(problem)
    waiting = {name: event.number for name, event in look.waiting.items()}
    return SensorResult(
        run_requests=requests[: len(look.complete)],
        skip_reason=None if look.complete else skip_reason(trigger, look),
        cursor=written_cursor(cursor, look.news, waiting),
        dynamic_partitions_requests=added_partitions(config, look, context.instance),
    )


def added_partitions(
    config: StartConfig | None, look: Look, instance: DagsterInstance
) -> Sequence[AddDynamicPartitionsRequest]:
    """The partitions that are there from now on, as events have chosen them."""
    if config is None or config.partitions is None:
        return []
    chosen = [
        {name: value for event in events for name, value in event.values.items()}
        for events in look.complete
    ]
    return config.partitions.added(chosen, instance)


def look_at(
    trigger: Trigger,
    config: StartConfig | None,
    earlier: Sequence[Happened],
    news: Sequence[Stored],
    max_bytes: float,
) -> Look:
    """The result of some news, given the events that wait for others since an earlier look."""
    events, problems = usable_events(trigger, config, news, max_bytes)
    complete, waiting = complete_sets(trigger, earlier, events)
    fitting = []
    for batch in complete:
        problem = disagreement(config, batch) or oversize(trigger, config, batch, max_bytes)
        if problem:
            which = " and ".join(f"{event.name}, no. {event.number}" for event in batch)
            problems.append(f"Events {which} of the event log, start no run: {problem}.")
        else:
            fitting.append(batch)
    return Look(news, fitting, waiting, problems)


def disagreement(config: StartConfig | None, events: Sequence[Happened]) -> str:
    """Why events that choose different partitions start no run; empty if they choose the same."""
    names = config.partitions.names if config and config.partitions else ()
    for name in names:
        keys = dict.fromkeys(event.values[name] for event in events if name in event.values)
        if len(keys) > 1:
            return f"they are of different partitions ({' and '.join(keys)})"
    return ""


def most_bytes(instance: DagsterInstance) -> float:
    """How many bytes of a request Dagster's database can hold."""
    module = type(instance.schedule_storage).__module__
    return TICK_BYTES if module.startswith("dagster_mysql") else math.inf


def oversize(
    trigger: Trigger, config: StartConfig | None, events: Sequence[Happened], max_bytes: float
) -> str:
    """Why no run can be requested for some events; empty if it can."""
    size = request_size(run_request(trigger, config, events))
    if size <= max_bytes:
        return ""
    return (
        f"they make a request of {size} bytes, and {max_bytes} is the most of one that Dagster can "
        "keep in MySQL"
    )


def request_size(request: RunRequest) -> int:
    """The bytes that a request takes in a tick, where its key is twice, and ids of its run."""
    parts = [request.run_key, request.run_key, request.run_config, request.tags]
    return REQUEST_BYTES + len(json.dumps(parts))


def number_that_fits(requests: Sequence[RunRequest]) -> int:
    """How many of some requests, from the first on, may be in one tick: one at least."""
    sizes = accumulate(map(request_size, requests))
    return max(1, sum(size <= TICK_BYTES for size in sizes))


def news_before(news: Sequence[Stored], events: Sequence[Happened]) -> list[Stored]:
    """The news before that which has completed a set of events."""
    numbers = {event.number for event in events}
    last = max(index for index, entry in enumerate(news) if entry.number in numbers)
    return list(news[:last])


def skip_reason(trigger: Trigger, look: Look) -> str:
    """Why nothing starts: problems, as far as a tick should hold them, and what is lacking."""
    ends = accumulate(len(json.dumps(problem)) for problem in look.problems)
    told = sum(end <= PROBLEM_BYTES for end in ends)
    others = len(look.problems) - told
    note = [f"The log of this tick has {others} more like that."] if others else []
    return " ".join([*look.problems[:told], *note, lacking(trigger, look.waiting)])


def waiting_events(instance: DagsterInstance, cursor: Cursor) -> list[Stored]:
    """The events that wait for others since an earlier look."""
    events: list[Stored] = []
    for name, number in cursor.waiting.items():
        records_filter = AssetRecordsFilter(event_asset(name), storage_ids=[number])
        events += stored_events(instance, name, records_filter, 1) or []
    return events


def usable_events(
    trigger: Trigger, config: StartConfig | None, stored: Sequence[Stored], max_bytes: float
) -> tuple[list[Happened], list[str]]:
    """The events that may start a run, and what is wrong with the others."""
    events, problems = [], []
    for entry in stored:
        try:
            if entry.record is None:
                raise UnusablePayload("has a payload that Dagster cannot read")
            fields = trigger.events[entry.name]
            event = event_of_record(trigger.kind, fields, config, entry.name, entry.record)
            if problem := oversize(trigger, config, [event], max_bytes):
                raise UnusablePayload(f"is too big: {problem}")
            events.append(event)
        except UnusablePayload as problem:
            problems.append(f"Event {entry.name}, no. {entry.number} of the event log, {problem}.")
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
        left = {
            name: earlier
            for name, earlier in left.items()
            if not is_forgotten(trigger, earlier, event)
        }
        left[event.name] = event
        if len(left) == len(trigger.events):
            complete.append([left[name] for name in trigger.events])
            left = {}
    return complete, left


def is_forgotten(trigger: Trigger, earlier: Happened, event: Happened) -> bool:
    """Whether an event does not count any more when another one happens."""
    if trigger.reset_cron is None:
        return False
    resets = DagsterTimes.after(earlier.timestamp, trigger.reset_cron, trigger.reset_timezone)
    reset: float = next(resets).timestamp()
    return reset <= event.timestamp


def run_request(
    trigger: Trigger, config: StartConfig | None, events: Sequence[Happened]
) -> RunRequest:
    """A run with the parameters that events give it, and a tag by which its steps know of them."""
    values: dict[str, Any] = {}
    for event in events:
        values.update(event.values)
    known = [
        {
            "name": event.name,
            "id": event.id,
            "timestamp": int(event.timestamp),
            "type": trigger.kind,
        }
        for event in events
    ]
    partitions = config.partitions if config else None
    keys = {name: values.pop(name) for name in partitions.names} if partitions else {}
    return RunRequest(
        run_key=" ".join(run_key(trigger, event) for event in events),
        run_config={"ops": {config.op: {"config": values}}} if config and values else {},
        tags={TRIGGERS_TAG: json.dumps(known)},
        partition_key=partitions.partition(keys) if partitions else None,
    )


def run_key(trigger: Trigger, event: Happened) -> str:
    """A key of an event. The end of a run, which a retry may publish again, is one event."""
    return event.id if trigger.kind == RUN_EVENT else f"{event.name}#{event.number}"


def lacking(trigger: Trigger, waiting: Mapping[str, Happened]) -> str:
    """The events that have to happen for a run to start."""
    missing = [name for name in trigger.events if name not in waiting]
    return f"Waiting for {' and '.join(missing)}."
