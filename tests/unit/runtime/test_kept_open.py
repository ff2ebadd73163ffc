"""The event log of a run stays open, so that SQLite does not clear up after each event."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import (
    AssetMaterialization,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    EventLogEntry,
    job,
    op,
)
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.events import EngineEventData, StepMaterializationData
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.storage.event_log import SqliteEventLogStorage

from metaflow_dagster.runtime.run_log import can_have_one_connection, kept_open


@op
def nothing() -> None:
    pass


@job
def idle() -> None:
    nothing()


def context_of(instance: DagsterInstance) -> Any:
    """What an executor gets of a run, as far as it matters here."""
    run = instance.create_run_for_job(idle)
    return SimpleNamespace(instance=instance, run_id=run.run_id)


def report(context: Any) -> None:
    """Write an event."""
    event = DagsterEvent(
        DagsterEventType.ENGINE_EVENT.value, "idle", event_specific_data=EngineEventData({})
    )
    context.instance.report_dagster_event(event, context.run_id)


def logs(context: Any) -> list[Path]:
    """The write-ahead logs of the run's events that are there."""
    file = Path(context.instance.event_log_storage.path_for_shard(context.run_id))
    assert file.exists()
    return list(file.parent.glob(f"{context.run_id}*-wal"))


def test_no_log_is_cleared_up_as_long_as_it_is_kept_open(instance: DagsterInstance) -> None:
    context = context_of(instance)
    report(context)
    assert logs(context) == []
    with kept_open(context):
        sizes = []
        for _ in range(3):
            report(context)
            (log,) = logs(context)
            sizes.append(log.stat().st_size)
    assert sizes == sorted(set(sizes))
    assert logs(context) == []
    assert len(instance.all_logs(context.run_id)) == 4


def test_other_storage_is_left_alone() -> None:
    with DagsterInstance.ephemeral() as instance:
        context = context_of(instance)
        before = files()
        with kept_open(context):
            report(context)
            assert files() == before
        report(context)
        assert len(instance.all_logs(context.run_id)) == 2


def files() -> set[str]:
    """The files that this process has open."""
    directory = Path("/proc/self/fd")
    paths = (os.path.realpath(each) for each in directory.iterdir()) if directory.exists() else ()
    return {path for path in paths if not path.startswith("/proc/")}


def test_who_watches_the_run_sees_its_events_meanwhile(instance: DagsterInstance) -> None:
    context = context_of(instance)
    report(context)
    seen: list[str] = []

    def see(entry: EventLogEntry, _cursor: str) -> None:
        seen.append(entry.message)

    instance.event_log_storage.watch(context.run_id, None, see)
    try:
        with kept_open(context):
            for count in (2, 3):
                report(context)
                deadline = time.monotonic() + 20
                while len(seen) < count and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert len(seen) == count
    finally:
        instance.event_log_storage.end_watch(context.run_id, see)


def own_connect(instance: DagsterInstance) -> Any:
    """How the storage connects, if not as its class says."""
    return vars(instance.event_log_storage).get("_connect")


def test_one_connection_is_for_the_run_and_as_long_as_it_lasts(instance: DagsterInstance) -> None:
    context, other = context_of(instance), context_of(instance)
    storage: Any = instance.event_log_storage
    with kept_open(context):
        connections = []
        for _ in range(2):
            with storage.run_connection(context.run_id) as connection:
                connections.append(connection.connection.dbapi_connection)
        assert connections[0] is connections[1]
        with storage.run_connection(other.run_id) as connection:
            assert connection.connection.dbapi_connection not in connections
        during = own_connect(instance)
        with kept_open(other):  # has to do without
            report(other)
            assert own_connect(instance) is during
    assert own_connect(instance) is None
    report(other)
    assert len(instance.all_logs(other.run_id)) == 2


def test_each_event_is_stored_when_it_is_reported(instance: DagsterInstance) -> None:
    context = context_of(instance)
    file = instance.event_log_storage.path_for_shard(context.run_id)  # type: ignore[attr-defined]
    with kept_open(context), sqlite3.connect(file) as reader:
        count = "SELECT count(*) FROM event_logs"
        stored = []
        for _ in range(3):
            report(context)
            stored.extend(reader.execute(count).fetchone())
        assert stored == [1, 2, 3]
    reader.close()


def test_failed_transaction_leaves_the_connection_usable(instance: DagsterInstance) -> None:
    context = context_of(instance)
    storage: Any = instance.event_log_storage
    with kept_open(context):
        report(context)
        with pytest.raises(ZeroDivisionError):
            forget_events(storage, context.run_id)
        report(context)
    assert len(instance.all_logs(context.run_id)) == 2


def forget_events(storage: Any, run_id: str) -> None:
    """Remove all events of a run, and fail before that is final."""
    with storage.run_connection(run_id) as connection:
        connection.exec_driver_sql("DELETE FROM event_logs")
        raise ZeroDivisionError


def entries(run_id: str) -> list[EventLogEntry]:
    """Events of a run: of an op, of an asset, which the index of all runs gets too, and a text."""
    materialization = StepMaterializationData(AssetMaterialization("an_asset"))
    events = [
        DagsterEvent(
            DagsterEventType.STEP_START.value,
            "idle",
            step_handle=StepHandle(NodeHandle("op", None)),
        ),
        DagsterEvent(
            DagsterEventType.ASSET_MATERIALIZATION.value,
            "idle",
            event_specific_data=materialization,
        ),
        None,
    ]
    return [
        EventLogEntry(
            error_info=None,
            level=10,
            user_message="said",
            run_id=run_id,
            timestamp=1.5 + number,
            step_key="op",
            job_name="idle",
            dagster_event=event,
        )
        for number, event in enumerate(events)
    ]


def rows(instance: DagsterInstance, run_id: str, shard: str) -> list[tuple[Any, ...]]:
    """What is stored of a run in a file, apart from its id."""
    file = instance.event_log_storage.path_for_shard(shard)  # type: ignore[attr-defined]
    columns = "replace(event, run_id, ''), dagster_event_type, timestamp, step_key, asset_key"
    with closing(sqlite3.connect(file)) as reader:
        found = reader.execute(f"SELECT {columns} FROM event_logs WHERE run_id = ?", [run_id])
        return found.fetchall()


def test_events_are_stored_as_dagster_stores_them(instance: DagsterInstance) -> None:
    context, other = context_of(instance), context_of(instance)
    with kept_open(context):
        assert "store_event" in vars(instance.event_log_storage)
        for run in (context, other):
            for entry in entries(run.run_id):
                instance.event_log_storage.store_event(entry)
    assert "store_event" not in vars(instance.event_log_storage)
    ours, own = (rows(instance, run.run_id, run.run_id) for run in (context, other))
    assert ours == own
    assert len(ours) == 3
    in_index, own_in_index = (rows(instance, run.run_id, "index") for run in (context, other))
    assert in_index == own_in_index
    assert len(in_index) == 1


class OtherStorage(SqliteEventLogStorage):
    """One that somebody has derived from Dagster's, and that may do it in another way."""


def test_storage_of_another_kind_connects_as_it_does(tmp_path: Path) -> None:
    assert not can_have_one_connection(OtherStorage(str(tmp_path)))
    assert can_have_one_connection(SqliteEventLogStorage(str(tmp_path)))
