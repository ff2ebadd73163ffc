"""Parts of Dagster are killed while runs go on or wait to begin."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.faults.production import Production
from tests.operated import until
from tests.support import use_client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

# More than the eleven or twelve in which Dagster tries to record something, with the time until it
# has something to record; less than twice as many, as it then records the failure.
SECONDS_AWAY = 19


def assert_not_done(dagster: Production, run_id: str) -> None:
    """Metaflow takes neither the run for done nor the task that waited, and keeps what is done."""
    from metaflow import Run

    use_client(dagster.project.directory)
    run = Run(f"ProductionFlow/{run_id}")
    assert not run.successful
    assert run["start"].task.data.items == ["a", "b", "c"]
    assert not run["work"]["work-2"].successful


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
    """The run goes on to its end without it, as it has loaded its definitions."""
    run = dagster.waiting()
    dagster.code_server.kill()
    dagster.start_code_server()
    run.let_go()
    assert dagster.statuses(run.id) == ["SUCCESS"]
    dagster.assert_whole(run.id)
    until(run.is_gone)


def test_code_server_is_killed_with_its_runs(dagster: Production) -> None:
    """As when a container is killed: the steps end, but nobody is left to record it, and Dagster's
    default run launcher leaves the run as started. `terminate` says that nobody answers; run
    monitoring then marks the run as canceled, and it can be resumed."""
    run = dagster.waiting()
    dagster.code_server.kill_all()
    until(run.is_gone)
    assert_not_done(dagster, run.id)
    dagster.start_code_server()
    assert dagster.command("status", run.id).stdout.split() == ["Running"]
    result = dagster.command("terminate", run.id)
    assert result.returncode == 1
    assert "Could not find a server for run" in result.stderr
    assert dagster.statuses(run.id) == ["CANCELED"]
    run.let_go()
    again = dagster.started("resume", f"--run-id={run.id}")
    assert dagster.statuses(again) == ["SUCCESS"]
    dagster.assert_whole(again)


def test_database_is_restarted(dagster: Production) -> None:
    """What has to be recorded meanwhile waits some ten seconds for it, and the run succeeds. What
    is being recorded at that very moment is not tried again: that op fails, and the run is resumed
    as after the next fault."""
    run = dagster.waiting()
    dagster.postgres.stop()
    run.let_go()
    time.sleep(4)
    dagster.postgres.start()
    assert dagster.statuses(run.id) == ["SUCCESS"]
    dagster.assert_whole(run.id)
    until(run.is_gone)


def test_database_is_away_for_longer(dagster: Production) -> None:
    """After some ten seconds Dagster gives up to record what a step has done, and the run fails. It
    can be resumed when the database is back, and the tasks that had finished do not run again."""
    from metaflow import Task

    run = dagster.waiting()
    dagster.postgres.stop()
    run.let_go()
    time.sleep(SECONDS_AWAY)
    dagster.postgres.start()
    assert dagster.statuses(run.id) == ["FAILURE"]
    until(run.is_gone)
    again = dagster.started("resume", f"--run-id={run.id}")
    assert dagster.statuses(again) == ["SUCCESS"]
    dagster.assert_whole(again)
    assert (
        Task(f"ProductionFlow/{again}/work/work-2").origin_pathspec
        == f"ProductionFlow/{run.id}/work/work-2"
    )


def test_two_runs_at_once(dagster: Production) -> None:
    """Each has its own tasks and artifacts."""
    from metaflow import Run

    runs = [dagster.waiting(), dagster.waiting()]
    for run in runs:
        run.let_go()
    for run in runs:
        assert dagster.statuses(run.id) == ["SUCCESS"]
        dagster.assert_whole(run.id)
        assert Run(f"ProductionFlow/{run.id}").data.go == str(run.go)
        until(run.is_gone)
