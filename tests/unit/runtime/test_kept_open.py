"""The event log of a run stays open, so that SQLite does not clear up after each event."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, EventLogEntry, job, op
from dagster._core.events import EngineEventData

from metaflow_dagster.runtime.internals import kept_open


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
    paths = (os.path.realpath(one) for one in directory.iterdir()) if directory.exists() else ()
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
