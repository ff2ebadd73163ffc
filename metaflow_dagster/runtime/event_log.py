"""How far a sensor has come in Dagster's event log, and what is new there."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from traceback import walk_tb
from typing import Any

from dagster import AssetRecordsFilter, DagsterInstance, EventLogRecord

from metaflow_dagster.runtime.events import event_asset

LOADED_AT = time.time()  # events before this module was loaded are ignored
LATEST = 2**37  # seconds since the epoch; Python knows no dates after the year 9999
MOST_EVENTS = 100  # that are dealt with in one look, in equal parts by name


class UnusableCursor(Exception):
    """Why a sensor does not know how far it has come."""


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

    positions: Mapping[str, Position]
    waiting: Mapping[str, int]


@dataclass(frozen=True)
class Stored:
    """An event in the event log; without its record if Dagster cannot read that."""

    name: str
    number: int
    record: EventLogRecord | None


def read_cursor(text: str | None, names: Iterable[str], begin: float = LOADED_AT) -> Cursor:
    """The positions that a cursor holds for some names; those it does not know begin at a time."""
    event_names = list(names)
    try:
        cursor = json.loads(text) if text else {"positions": {}, "waiting": {}}
        positions = {name: read_position(stored) for name, stored in cursor["positions"].items()}
        waiting = {
            name: event_number(cursor["waiting"][name])
            for name in event_names
            if name in cursor["waiting"]
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnusableCursor(
            "The cursor of this sensor is none that it has written. Delete it, and only events "
            "from then on count: `dagster sensor cursor --delete NAME`, or reset it in the UI."
        ) from error
    return Cursor({name: positions.get(name, Position(begin)) for name in event_names}, waiting)


def read_position(stored: Mapping[str, Any]) -> Position:
    """A position as it was written."""
    numbers = [event_number(number) for number in stored["dealt_with"]]
    since = float(stored["since"])
    if not 0 <= since <= LATEST:
        raise ValueError(f"no time: {since}")
    return Position(since, event_number(stored["settled"]), event_number(stored["latest"]), numbers)


def event_number(value: Any) -> int:
    """A number of the event log, as databases hold it."""
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"no number of an event: {value!r}")
    return value


def written_cursor(cursor: Cursor, news: Sequence[Stored], waiting: Mapping[str, int]) -> str:
    """The cursor after a look at the event log."""
    positions = {
        name: moved(position, [entry.number for entry in news if entry.name == name])
        for name, position in cursor.positions.items()
    }
    return json.dumps(asdict(Cursor(positions, waiting)))


def moved(position: Position, numbers: Sequence[int]) -> Position:
    """The position after more events have been dealt with."""
    recent = [number for number in (*position.dealt_with, *numbers) if number > position.latest]
    return Position(position.since, position.latest, max([position.latest, *recent]), recent)


def new_events(
    instance: DagsterInstance, cursor: Cursor, most_events: int = MOST_EVENTS
) -> list[Stored]:
    """The events that have not been dealt with, in their order in the event log.

    At most `most_events`, in equal parts by name.
    """
    unsettled_events: list[Stored] = []
    ends = []
    share = max(1, most_events // len(cursor.positions))
    for name, position in cursor.positions.items():
        limit = share + len(position.dealt_with)
        unsettled = events_after(instance, name, position, limit)
        if len(unsettled) == limit:
            ends.append(unsettled[-1].number)
        unsettled_events += [
            entry for entry in unsettled if entry.number not in position.dealt_with
        ]
    # Events after some that were not read now have to wait until these are.
    last = min(ends, default=None)
    in_turn = [entry for entry in unsettled_events if last is None or entry.number <= last]
    return sorted(in_turn, key=lambda entry: entry.number)


def events_after(
    instance: DagsterInstance, name: str, position: Position, limit: int
) -> list[Stored]:
    """The first events that are not settled. Until one is, the time says where they begin."""
    since = None if position.settled else position.since
    records_filter = AssetRecordsFilter(
        event_asset(name), after_timestamp=since, after_storage_id=position.settled
    )
    events = stored_events(instance, name, records_filter, limit)
    if events is None:
        end = instance.event_log_storage.get_maximum_record_id() or 0
        events = readable_events(
            instance, name, records_filter._replace(before_storage_id=end + 1), limit
        )
    return events


def stored_events(
    instance: DagsterInstance, name: str, records_filter: AssetRecordsFilter, limit: int
) -> list[Stored] | None:
    """The first events that are wanted; None if Dagster cannot read one of them."""
    try:
        records = instance.fetch_materializations(records_filter, limit, ascending=True).records
    except Exception as error:
        if cannot_be_read(error):
            return None
        raise
    return [Stored(name, record.storage_id, record) for record in records]


def readable_events(
    instance: DagsterInstance, name: str, records_filter: AssetRecordsFilter, limit: int
) -> list[Stored]:
    """The same without the records that Dagster cannot read, which halving singles out."""
    events = stored_events(instance, name, records_filter, limit)
    if events is not None:
        return events
    after, before = records_filter.after_storage_id or 0, records_filter.before_storage_id or 0
    if before - after == 2:
        return [Stored(name, after + 1, None)]
    middle = (after + before + 1) // 2
    halves = (
        records_filter._replace(before_storage_id=middle),
        records_filter._replace(after_storage_id=middle - 1),
    )
    return [one for half in halves for one in readable_events(instance, name, half, limit)][:limit]


def cannot_be_read(error: Exception) -> bool:
    """Whether Dagster has failed at what it has stored, and not at getting it.

    Anybody can store what it takes for an object of its own, and it raises anything at that.
    """
    frames = (frame for frame, _line in walk_tb(error.__traceback__))
    return any(str(frame.f_globals.get("__name__")).endswith("serdes.serdes") for frame in frames)
