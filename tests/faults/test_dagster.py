"""Parts of Dagster are killed while runs go on or wait to begin."""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import pytest

from tests.faults.production import Production, Waiting
from tests.operated import answers, until
from tests.support import use_client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def assert_not_done(dagster: Production, run_id: str) -> None:
    """Metaflow takes neither the run for done nor the task that waited, and keeps what is done."""
    from metaflow import Run

    use_client(dagster.project.directory)
    run = Run(f"ProductionFlow/{run_id}")
    assert not run.successful
    assert run["start"].task.data.items == ["a", "b", "c"]
    assert not run["work"]["t1-2"].successful


def test_run_worker_is_killed(dagster: Production) -> None:
    """The steps that run are ended within ten seconds. The code server records the failure, and
    with `run_retries` Dagster's daemon carries on with the same Metaflow run by itself."""
    run = dagster.waiting()
    os.kill(run.worker, signal.SIGKILL)
    until(run.is_gone)
    assert_not_done(dagster, run.id)
    run.let_go()
    assert dagster.statuses(run.id, 2) == ["FAILURE", "SUCCESS"]
    dagster.assert_whole(run.id)


def test_daemon_is_killed_while_a_run_is_queued(dagster: Production) -> None:
    """The run stays in the queue, and begins when there is a daemon again."""
    dagster.daemon.kill()
    run_id = dagster.trigger()
    time.sleep(3)
    assert dagster.command("status", run_id).stdout.split() == ["Pending"]
    dagster.daemon.start()
    assert dagster.statuses(run_id) == ["SUCCESS"]
    dagster.assert_whole(run_id)


def test_daemon_is_killed_while_a_run_goes_on(dagster: Production) -> None:
    """Nothing happens to the run, which needs no daemon any more."""
    run = dagster.waiting()
    dagster.daemon.kill()
    run.let_go()
    assert dagster.statuses(run.id) == ["SUCCESS"]
    dagster.daemon.start()
    dagster.assert_whole(run.id)
    until(run.is_gone)


def test_code_server_is_killed(dagster: Production) -> None:
    """The run goes on without it to its end, as it has loaded its definitions."""
    run = dagster.waiting()
    dagster.code_server.kill()
    dagster.start_code_server()
    run.let_go()
    assert dagster.statuses(run.id) == ["SUCCESS"]
    dagster.assert_whole(run.id)
    until(run.is_gone)


def test_database_is_restarted(dagster: Production) -> None:
    """What has to be recorded meanwhile waits some ten seconds for it, so the run succeeds."""
    run = dagster.waiting()
    dagster.postgres.stop()
    run.let_go()
    time.sleep(4)
    dagster.postgres.start()
    assert dagster.statuses(run.id) == ["SUCCESS"]
    dagster.assert_whole(run.id)
    until(run.is_gone)
